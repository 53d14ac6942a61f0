//! What a user relies on when opening a data set: every layout, every repair, every refusal.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use captionlab::Result;
use captionlab::data::{
    Dataset, Example, ImageSource, Layout, PhraseLink, Random, Split, SplitConfig, Vocabulary, VocabularyConfig,
    captions_of, statistics,
};
use tempfile::TempDir;

/// A folder with the given files. What is called like an image needs no pixels: opening does not decode.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn open(files: &[(&str, &str)]) -> Dataset {
    let folder = folder(files);
    Dataset::open(folder.path()).unwrap_or_else(|error| panic!("{error}"))
}

/// The message of the error, without the path of the temporary folder.
fn refusal(files: &[(&str, &str)]) -> String {
    let folder = folder(files);
    message(Dataset::open(folder.path()), folder.path())
}

fn message<T>(result: Result<T>, folder: &Path) -> String {
    let error = result.err().expect("this was to be refused").to_string();
    error.replace(&format!("{}/", folder.display()), "").replace(&folder.display().to_string(), "FOLDER")
}

fn names(examples: &[Example]) -> Vec<&str> {
    examples.iter().map(|example| example.name.as_str()).collect()
}

fn all_captions(dataset: &Dataset) -> Vec<String> {
    captions_of(&dataset.examples)
}

fn notes_hold(dataset: &Dataset, wanted: &str) {
    assert!(dataset.notes.iter().any(|note| note.contains(wanted)), "`{wanted}` is not in {:#?}", dataset.notes);
}

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(name);
    path.exists().then_some(path)
}

const FIVE: &str =
    "a.jpg#0\tA dog runs.\na.jpg#1\tA brown dog.\na.jpg#2\tThe dog is running.\na.jpg#3\tDog.\na.jpg#4\tRun!\n";

fn karpathy(splits: &[(&str, &str)]) -> String {
    let image = |(name, split): &(&str, &str)| {
        format!(
            r#"{{"filename": "{name}", "split": "{split}", "imgid": 0, "sentids": [0],
                "sentences": [{{"tokens": ["a", "dog"], "raw": "A dog \u2014 \"{name}\".", "imgid": 0, "sentid": 0}}]}}"#
        )
    };
    let images: Vec<String> = splits.iter().map(image).collect();
    format!(r#"{{"images": [{}], "dataset": "flickr8k"}}"#, images.join(", "))
}

const COCO_TRAIN: &str = r#"{"info": {}, "images": [{"id": 9, "file_name": "COCO_train2014_000000000009.jpg", "width": 640}],
 "annotations": [{"id": 1, "image_id": 9, "caption": "A dog."}, {"id": 2, "image_id": 9, "caption": "A brown dog\n"}]}"#;
const COCO_VAL: &str = r#"{"images": [{"id": 42, "file_name": "COCO_val2014_000000000042.jpg"}],
 "annotations": [{"id": 3, "image_id": 42, "caption": "A boat."}, {"id": 4, "image_id": 7, "caption": "Nowhere."}]}"#;

// --- the layouts ---

#[test]
fn official_flickr30k_tokens() {
    let files = [("results_20130124.token", FIVE), ("flickr30k-images/a.jpg", "")];
    let folder = folder(&files);
    for path in [folder.path().to_path_buf(), folder.path().join("results_20130124.token")] {
        let dataset = Dataset::open(&path).unwrap();
        assert_eq!(dataset.layout, Layout::Flickr30kTokens);
        assert_eq!(names(&dataset.examples), ["a.jpg"]);
        let example = &dataset.examples[0];
        assert_eq!(example.captions.len(), 5);
        assert_eq!(example.captions[0], "A dog runs.");
        assert_eq!(example.image, ImageSource::File(folder.path().join("flickr30k-images/a.jpg")));
        assert_eq!(example.split, None);
        assert_eq!(dataset.notes.len(), 1, "{:?}", dataset.notes);
        notes_hold(&dataset, "in no splits");
    }
}

#[test]
fn gzipped_tokens_are_read_and_give_way_to_the_plain_file() {
    let folder = folder(&[("flickr30k-images/a.jpg", "")]);
    let file = fs::File::create(folder.path().join("results_20130124.token.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    packed.write_all(FIVE.as_bytes()).unwrap();
    packed.finish().unwrap();
    assert_eq!(Dataset::open(folder.path()).unwrap().caption_count(), 5);
    fs::write(folder.path().join("results_20130124.token"), "a.jpg#0\tOnly one.\n").unwrap();
    assert_eq!(all_captions(&Dataset::open(folder.path()).unwrap()), ["Only one."]);
}

#[test]
fn flickr8k_with_its_text_in_a_folder_of_its_own() {
    let dataset = open(&[
        ("Flickr8k_text/Flickr8k.token.txt", "a.jpg#0\tA dog.\nb.jpg#0\tA boat.\n"),
        ("Flickr8k_text/Flickr8k.lemma.token.txt", "a.jpg#0\ta dog .\n"),
        ("Flickr8k_text/Flickr_8k.trainImages.txt", "a.jpg\n"),
        ("Flickr8k_text/Flickr_8k.devImages.txt", "b.jpg\n"),
        ("Flicker8k_Dataset/a.jpg", ""),
        ("Flicker8k_Dataset/b.jpg", ""),
    ]);
    assert_eq!(dataset.layout, Layout::Flickr30kTokens);
    assert_eq!(names(&dataset.split(Split::Train)), ["a.jpg"]);
    assert_eq!(names(&dataset.split(Split::Validation)), ["b.jpg"]);
}

#[test]
fn kaggle_results_with_the_row_whose_separator_is_missing() {
    let dataset = open(&[
        (
            "results.csv",
            "image_name| comment_number| comment\n\
             a.jpg| 0| A man says \" hi \" , then leaves .\n\
             2199200615.jpg| 3| A dog .\n\
             2199200615.jpg| 4   A dog runs across the grass .\n\
             a.jpg| 1| \"Quoted\" at the start\n",
        ),
        ("flickr30k_images/a.jpg", ""),
        ("flickr30k_images/2199200615.jpg", ""),
    ]);
    assert_eq!(dataset.layout, Layout::Kaggle);
    assert_eq!(dataset.examples[0].captions, ["A man says \" hi \" , then leaves .", "\"Quoted\" at the start"]);
    assert_eq!(dataset.examples[1].captions, ["A dog .", "A dog runs across the grass ."]);
    notes_hold(&dataset, "results.csv, line 4: the separator after the comment number is missing; repaired.");
}

#[test]
fn kaggle_captions_with_and_without_comment_numbers() {
    for (text, captions) in [
        ("image,caption\na.jpg,\"A dog, running\"\na.jpg,A cat\n", ["A dog, running", "A cat"]),
        ("image,comment_number,comment\na.jpg,0,\"A dog, running\"\na.jpg,1,A cat\n", ["A dog, running", "A cat"]),
        ("image,caption\na.jpg,A dog, running\na.jpg,A cat\n", ["A dog, running", "A cat"]),
    ] {
        let dataset = open(&[("captions.txt", text), ("Images/a.jpg", "")]);
        assert_eq!(dataset.layout, Layout::Kaggle);
        assert_eq!(all_captions(&dataset), captions);
    }
}

#[test]
fn captions_with_commas_outside_quotation_marks_are_noted() {
    let dataset = open(&[("captions.txt", "image,caption\na.jpg,One, two, three\n"), ("a.jpg", "")]);
    assert_eq!(all_captions(&dataset), ["One, two, three"]);
    notes_hold(&dataset, "1 caption with `,` outside quotation marks, taken whole: line 2.");
}

#[test]
fn karpathy_splits() {
    let json = karpathy(&[("a.jpg", "train"), ("b.jpg", "restval"), ("c.jpg", "val"), ("d.jpg", "test")]);
    let images = [("a.jpg", ""), ("b.jpg", ""), ("c.jpg", ""), ("d.jpg", "")];
    let dataset = open(&[&[("dataset_flickr8k.json", json.as_str())], &images[..]].concat());
    assert_eq!(dataset.layout, Layout::Karpathy);
    assert_eq!(names(&dataset.split(Split::Train)), ["a.jpg", "b.jpg"]);
    assert_eq!(names(&dataset.split(Split::Validation)), ["c.jpg"]);
    assert_eq!(names(&dataset.split(Split::Test)), ["d.jpg"]);
    assert_eq!(dataset.captions(Split::Validation), ["A dog — \"c.jpg\"."]);
    notes_hold(&dataset, "`restval` count as training images");
}

#[test]
fn karpathy_coco_names_the_folder_of_each_image() {
    let json = r#"{"images": [{"filepath": "val2014", "filename": "COCO_val2014_1.jpg", "split": "test",
        "sentences": [{"raw": "A dog."}]}]}"#;
    let folder = folder(&[("dataset_coco.json", json), ("val2014/COCO_val2014_1.jpg", "")]);
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!(dataset.examples[0].image, ImageSource::File(folder.path().join("val2014/COCO_val2014_1.jpg")));
}

#[test]
fn hugging_face_lists_of_captions() {
    let dataset = open(&[
        (
            "flickr_annotations_30k.csv",
            "raw,sentids,split,filename,img_id\n\
             \"[\"\"A dog, running.\"\", \"\"A \\\"\"good\\\"\" dog.\"\"]\",\"[0, 1]\",train,a.jpg,0\n\
             \"[\"\"A boat.\"\"]\",[2],val,b.jpg,1\n",
        ),
        ("flickr30k-images/a.jpg", ""),
        ("flickr30k-images/b.jpg", ""),
    ]);
    assert_eq!(dataset.layout, Layout::HuggingFace);
    assert_eq!(dataset.captions(Split::Train), ["A dog, running.", "A \"good\" dog."]);
    assert_eq!(dataset.captions(Split::Validation), ["A boat."]);
}

#[test]
fn coco_reads_training_and_validation_together() {
    let folder = folder(&[
        ("annotations/captions_train2014.json", COCO_TRAIN),
        ("annotations/captions_val2014.json", COCO_VAL),
        ("annotations/instances_val2014.json", "{}"),
        ("train2014/COCO_train2014_000000000009.jpg", ""),
        ("val2014/COCO_val2014_000000000042.jpg", ""),
    ]);
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!(dataset.layout, Layout::Coco);
    assert_eq!(dataset.captions(Split::Train), ["A dog.", "A brown dog"]);
    assert_eq!(dataset.captions(Split::Validation), ["A boat."]);
    notes_hold(&dataset, "1 caption of images that the file does not list, left out: image id 7.");
    let one = Dataset::open(folder.path().join("annotations/captions_val2014.json")).unwrap();
    assert_eq!(names(&one.examples), ["COCO_val2014_000000000042.jpg"]);
    assert!(one.notes.iter().all(|note| !note.contains("no caption")), "{:?}", one.notes);
}

#[test]
fn coco_ids_are_read_as_tools_write_them() {
    for (id, image_id) in [("9", "9.0"), ("9.0", "9"), ("\"9\"", "9"), ("\"a\"", "\"a\"")] {
        let json = format!(
            r#"{{"images": [{{"id": {id}, "file_name": "a.jpg"}}],
                "annotations": [{{"id": 1.0, "image_id": {image_id}, "caption": "A dog."}},
                                {{"id": null, "image_id": {image_id}, "caption": "A cat."}}]}}"#
        );
        assert_eq!(all_captions(&open(&[("captions_mine.json", &json), ("a.jpg", "")])), ["A dog.", "A cat."], "{id}");
    }
}

#[test]
fn a_folder_of_ones_own() {
    for text in [
        "image,caption\na.jpg,A dog\nb.PNG,A cat\n",
        "a.jpg,A dog\nb.PNG,A cat\n",
        "file;text\na.jpg;A dog\nb.PNG;A cat\n",
        "caption\timage\nA dog\ta.jpg\nA cat\tb.PNG\n",
        "Bild;Beschreibung\na.jpg;A dog\nb.PNG;A cat\n",
        "\u{feff}image,caption\r\na.jpg,A dog\r\n\r\nb.PNG,A cat\r\n",
    ] {
        let dataset = open(&[("mine.csv", text), ("a.jpg", ""), ("b.PNG", "")]);
        assert_eq!(dataset.layout, Layout::Folder, "{text}");
        assert_eq!(names(&dataset.examples), ["a.jpg", "b.PNG"], "{text}");
        assert_eq!(all_captions(&dataset), ["A dog", "A cat"], "{text}");
    }
}

#[test]
fn tables_are_read_whole_in_the_dialects_of_other_tools() {
    let (two, whole) = (["A dog, running", "A cat"], ["A dog", "A cat"]);
    for (text, captions) in [
        // Without a header: with the number of the caption, with that of the row, with a split.
        ("a.jpg,0,A dog\na.jpg,1,A cat\n", whole),
        ("a.jpg| 0| A dog\na.jpg| 1| A cat\n", whole),
        ("a.jpg\t0.0\tA dog\na.jpg\t1.0\tA cat\n", whole),
        ("a.jpg| 0| A dog\na.jpg| 1   A cat\na.jpg| 1| A cat\n", whole),
        ("0,a.jpg,A dog\n1,a.jpg,A cat\n", whole),
        ("a.jpg,A dog,train\na.jpg,A cat,train\n", whole),
        ("a.jpg#0,A dog\na.jpg#1,A cat\n", whole),
        ("A dog,a.jpg\nA cat,a.jpg\n", whole),
        ("a.jpg,0,A dog, running\na.jpg,1,A cat\n", two),
        // With the numbers of the rows before, as data frames write them.
        (",image,caption\n0,a.jpg,A dog\n1,a.jpg,A cat\n", whole),
        // Backslashes before quotation marks, and before separators.
        ("image,caption\na.jpg,\"A \\\"good\\\", old dog\"\na.jpg,\"A cat\"\n", ["A \"good\", old dog", "A cat"]),
        ("image,caption\na.jpg,A dog\\, running\na.jpg,A cat\n", two),
        // Lines that end as on Windows, and on old Macintoshes.
        ("image,caption\r\na.jpg,\"A dog, running\"\r\na.jpg,A cat\r\n", two),
        ("image,caption\ra.jpg,\"A dog, running\"\ra.jpg,A cat\r", two),
        ("image ||| caption\na.jpg ||| A dog\na.jpg ||| A cat\n", whole),
        // A caption may begin with a number.
        ("a.jpg,A dog\na.jpg,A cat\nb.jpg,2, 3 dogs\n", whole),
    ] {
        let dataset = open(&[("mine.csv", text), ("a.jpg", "")]);
        assert_eq!(all_captions(&dataset), captions, "{text}");
    }
    for (text, wanted) in [
        ("a.jpg ||| A dog\n", "line 1: an empty column between the image and its caption. "),
        ("a.jpg,0,A dog\na.jpg,1,A cat\na.jpg,A bird, flying\n", "line 3: `A bird` is not the number of a caption. "),
        ("image,caption\na.jpg,\"A \\\"good\\\" dog\\nruns\"\n", "line 2: `\\n` is not read in a table that"),
        ("image,caption,caption.1\na.jpg,A dog,A cat\n", "line 1: several columns are called `caption`. "),
        ("id,name of it,a.jpg\n1,A dog,b.jpg\n", "line 1: no columns for the image and the caption among "),
    ] {
        let refused = refusal(&[("mine.csv", text), ("a.jpg", "")]);
        assert!(refused.starts_with(&format!("mine.csv, {wanted}")), "{refused}");
    }
}

#[test]
fn a_folder_of_ones_own_with_splits_and_subfolders() {
    let dataset = open(&[
        ("mine.csv", "image,caption,split\ndogs/1.jpg,A dog,train\ncats/1.jpg,A cat,test\nbirds/1.jpg,A bird,\n"),
        ("dogs/1.jpg", ""),
        ("cats/1.jpg", ""),
    ]);
    assert_eq!(names(&dataset.split(Split::Train)), ["dogs/1.jpg"]);
    assert_eq!(names(&dataset.split(Split::Test)), ["cats/1.jpg"]);
    notes_hold(&dataset, "1 caption of 1 image that are not there, left out: birds/1.jpg.");
}

#[test]
fn of_several_layouts_the_one_with_splits_is_read() {
    let json = karpathy(&[("a.jpg", "test")]);
    let files = [("results_20130124.token", FIVE), ("dataset_flickr8k.json", &json), ("flickr30k-images/a.jpg", "")];
    let folder = folder(&files);
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!(dataset.layout, Layout::Karpathy);
    notes_hold(&dataset, "those of dataset_flickr8k.json; results_20130124.token beside it was not read.");
    let tokens = Dataset::open(folder.path().join("results_20130124.token")).unwrap();
    assert_eq!(tokens.layout, Layout::Flickr30kTokens);
    assert_eq!(tokens.caption_count(), 5);
}

#[test]
fn several_files_of_one_layout_are_for_the_user_to_choose_from() {
    let json = karpathy(&[("a.jpg", "test")]);
    assert_eq!(
        refusal(&[("dataset_flickr8k.json", &json), ("dataset_coco.json", &json)]),
        "FOLDER: several files of captions are in this folder: dataset_coco.json, dataset_flickr8k.json. \
         Open the one that you mean by its own path."
    );
    let two = refusal(&[("captions_train2014.json", COCO_TRAIN), ("captions_val2017.json", COCO_VAL)]);
    assert!(two.contains("several files of captions"), "{two}");
    let folders = refusal(&[("one/x.token", FIVE), ("two/x.token", FIVE)]);
    assert!(folders.contains("several folders in it hold captions: one, two. Open one of them."), "{folders}");
}

// --- splits ---

const THREE: &str = "a.jpg#0\tA dog.\nb.jpg#0\tA cat.\nc.jpg#0\tA boat.\n";

#[test]
fn split_lists_beside_the_captions() {
    let images = [("a.jpg", ""), ("b.jpg", ""), ("c.jpg", "")];
    let lists = [("x.token", THREE), ("train.txt", "a\r\n"), ("test_images.txt", "images/b.jpg\nz.jpg\n")];
    let dataset = open(&[&lists[..], &images[..]].concat());
    assert_eq!(names(&dataset.split(Split::Train)), ["a.jpg"]);
    assert_eq!(names(&dataset.split(Split::Test)), ["b.jpg"]);
    notes_hold(&dataset, "1 of 3 images is in no split.");
    notes_hold(&dataset, "test_images.txt has 1 name of no image of the data set: z.jpg.");
    let to_string = dataset.to_string();
    assert!(to_string.contains("3 images, 3 captions (1 training, 0 validation, 1 test)"), "{to_string}");
}

#[test]
fn an_image_in_two_splits_is_refused() {
    assert_eq!(
        refusal(&[("x.token", THREE), ("train.txt", "a.jpg\nb.jpg\n"), ("test.txt", "\nb.jpg\n")]),
        "test.txt, line 2: `b.jpg` is in another list as well, so that the test would leak into the training. \
         Leave it in one list only."
    );
    let json = karpathy(&[("a.jpg", "train"), ("a.jpg", "test")]);
    assert_eq!(
        refusal(&[("dataset_flickr8k.json", &json)]),
        "dataset_flickr8k.json: `a.jpg` is in two splits, so that the test would leak into the training. \
         Leave it in one of them."
    );
}

fn many(images: usize) -> Dataset {
    let rows: String = (0..images).map(|image| format!("{image}.jpg#0\tA dog.\n{image}.jpg#1\tA cat.\n")).collect();
    open(&[("x.token", &rows)])
}

#[test]
fn random_splits_are_by_image_and_repeatable() {
    let dataset = many(200);
    let config = SplitConfig { validation: 0.1, test: 0.25, seed: 7 };
    let drawn = dataset.with_random_split(&config).unwrap();
    let sizes = [Split::Train, Split::Validation, Split::Test].map(|split| drawn.split_size(split));
    assert_eq!(sizes, [130, 20, 50]);
    let mut seen = HashSet::new();
    for split in [Split::Train, Split::Validation, Split::Test] {
        for example in drawn.split(split) {
            assert_eq!(example.captions.len(), 2);
            assert!(seen.insert(example.name.clone()), "{} is in two splits", example.name);
        }
    }
    assert_eq!(seen.len(), 200);
    assert_eq!(drawn, dataset.with_random_split(&config).unwrap());
    assert_ne!(
        names(&drawn.split(Split::Test)),
        names(&dataset.with_random_split(&SplitConfig { seed: 8, ..config.clone() }).unwrap().split(Split::Test))
    );
    assert!(!drawn.notes.iter().any(|note| note.contains("in no split")), "{:?}", drawn.notes);
    // The order of the images in their file does not matter.
    let mut reversed = dataset.clone();
    reversed.examples.reverse();
    let reversed = reversed.with_random_split(&config).unwrap();
    let of = |dataset: &Dataset| dataset.split(Split::Test).into_iter().map(|image| image.name).collect::<HashSet<_>>();
    assert_eq!(of(&drawn), of(&reversed));
}

#[test]
fn a_data_set_without_splits_gets_those_of_the_lessons_and_says_so() {
    let dataset = many(20);
    let drawn = dataset.clone().with_splits().unwrap();
    assert_eq!(drawn, dataset.with_random_split(&SplitConfig::default()).unwrap());
    notes_hold(&drawn, "The splits were drawn by image with seed 0: 16 training, 2 validation, 2 test.");
    assert_eq!(drawn.clone().with_splits().unwrap(), drawn);
    notes_hold(&many(2), "train_images.txt, val_images.txt and test_images.txt beside the captions give them");
}

#[test]
fn a_split_list_that_names_several_images_at_once_names_none() {
    let dataset = open(&[
        ("x.token", "a.jpg#0\tA dog.\na.png#0\tA cat.\nb.jpg#0\tA boat.\n"),
        ("train.txt", "a\n./b.jpg\n"),
        ("a.jpg", ""),
        ("a.png", ""),
        ("b.jpg", ""),
    ]);
    assert_eq!(names(&dataset.split(Split::Train)), ["b.jpg"]);
    notes_hold(&dataset, "train.txt has 1 name of no image of the data set: a.");
}

#[test]
fn random_splits_of_very_few_images_leave_something_to_train_on() {
    for (images, sizes) in [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (5, [3, 1, 1])] {
        let drawn = many(images).with_random_split(&SplitConfig::default()).unwrap();
        let drawn = [Split::Train, Split::Validation, Split::Test].map(|split| drawn.split_size(split));
        assert_eq!(drawn, sizes, "{images}");
    }
}

#[test]
fn split_shares_outside_their_range_are_refused() {
    for (validation, test, problem) in [
        (-0.1, 0.1, "split.validation = -0.1: must be in 0..1"),
        (0.1, 1.0, "split.test = 1: must be in 0..1"),
        (f64::NAN, 0.1, "split.validation = NaN: must be in 0..1"),
        (0.5, 0.5, "split.validation + split.test = 1: must leave images to train on"),
    ] {
        let error = SplitConfig { validation, test, seed: 0 }.validate().unwrap_err().to_string();
        assert!(error.starts_with(problem), "{error}");
    }
}

#[test]
fn a_shorter_data_set_keeps_the_shares_of_its_splits() {
    let dataset = many(100).with_random_split(&SplitConfig { validation: 0.2, test: 0.2, seed: 1 }).unwrap();
    let short = dataset.limit(10);
    let sizes = [Split::Train, Split::Validation, Split::Test].map(|split| short.split_size(split));
    assert_eq!(sizes, [6, 2, 2]);
    assert_eq!(dataset.limit(1_000), dataset);
    assert_eq!(dataset.limit(0).examples.len(), 0);
}

#[test]
fn split_lists_from_another_folder() {
    let lists = folder(&[("train.txt", "1.jpg\n2.jpg\n"), ("val.txt", "3.jpg\n")]);
    let dataset = many(5).with_split_lists(lists.path()).unwrap();
    assert_eq!(names(&dataset.split(Split::Train)), ["1.jpg", "2.jpg"]);
    notes_hold(&dataset, "2 of 5 images are in no split.");
    let none = folder(&[]);
    let refused = message(many(5).with_split_lists(none.path()), none.path());
    assert!(refused.starts_with("FOLDER: no list here names an image of the data set."), "{refused}");
}

// --- images that are there, and images that are not ---

#[test]
fn without_any_image_the_captions_can_still_be_used() {
    let dataset = open(&[("results.token", THREE)]);
    assert_eq!(dataset.examples.len(), 3);
    notes_hold(&dataset, "None of the 3 images is here: only the captions can be used.");
}

#[test]
fn images_without_captions_and_captions_without_images_are_listed() {
    let dataset = open(&[
        ("x.token", "a.jpg#0\tA dog.\nb.jpg#0\tA cat.\nb.jpg#1\tCat.\nc.jpg#0\t \nd.jpg#0\tA bird.\n"),
        ("flickr30k-images/a.jpg", ""),
        ("flickr30k-images/c.jpg", ""),
        ("flickr30k-images/e.jpg", ""),
        ("logo.png", ""),
    ]);
    assert_eq!(names(&dataset.examples), ["a.jpg"]);
    notes_hold(&dataset, "3 captions of 2 images that are not there, left out: b.jpg, d.jpg.");
    notes_hold(&dataset, "1 caption without a word left out: c.jpg (line 4).");
    notes_hold(&dataset, "1 image without a caption left out: c.jpg.");
    notes_hold(&dataset, "2 images have no caption, left out: c.jpg, e.jpg.");
}

#[test]
fn names_are_found_however_a_table_or_a_disk_spells_them() {
    let (composed, apart) = ("caf\u{E9}.jpg", "cafe\u{301}.jpg");
    for (written, on_disk) in [
        ("./a.jpg", "a.jpg"),
        ("./photos/a.jpg", "photos/a.jpg"),
        ("photos\\a.jpg", "photos/a.jpg"),
        (".\\photos\\a.jpg", "photos/a.jpg"),
        ("photos//a.jpg", "photos/a.jpg"),
        (composed, apart),
        (apart, composed),
        ("one/two/three/four/five/six/a.jpg", "one/two/three/four/five/six/a.jpg"),
        ("a.jpg", "one/two/three/a.jpg"),
        ("a.jpg#0", "a.jpg"),
    ] {
        let table = format!("image,caption\n{written},A dog\nb.jpg,A cat\n");
        let folder = folder(&[("mine.csv", &table), (on_disk, ""), ("b.jpg", "")]);
        let dataset = Dataset::open(folder.path()).unwrap();
        assert_eq!(dataset.examples[0].image, ImageSource::File(folder.path().join(on_disk)), "{written}");
        assert!(!dataset.notes.iter().any(|note| note.contains("left out")), "{written}: {:?}", dataset.notes);
    }
    // One image, though its name is written in several ways.
    let table = format!("image,caption\n./{composed},A dog\n{apart},A cat\n.\\{apart},A bird\n");
    let dataset = open(&[("mine.csv", &table), (apart, ""), ("train.txt", apart)]);
    assert_eq!(names(&dataset.examples), [composed]);
    assert_eq!(dataset.captions(Split::Train), ["A dog", "A cat", "A bird"]);
}

#[test]
fn a_name_that_several_files_have_is_never_another_picture() {
    let table = "image,caption\n0001.jpg,A dog\n0002.jpg,A cat\n";
    let files = [("mine.csv", table), ("test/0001.jpg", "one"), ("train/0001.jpg", "other"), ("train/0002.jpg", "")];
    let dataset = open(&files);
    assert_eq!(names(&dataset.examples), ["0002.jpg"]);
    notes_hold(
        &dataset,
        "1 caption of 1 image whose name several files have, left out: \
         0001.jpg (test/0001.jpg and train/0001.jpg). Write their folders before their names.",
    );
    assert!(!dataset.notes.iter().any(|note| note.contains("have no caption")), "{:?}", dataset.notes);
    // Alone, there is nothing left to use.
    let refused = refusal(&[("mine.csv", "image,caption\n0001.jpg,A dog\n"), files[1], files[2]]);
    assert!(
        refused.contains("no image can be used") && refused.contains("test/0001.jpg and train/0001.jpg"),
        "{refused}"
    );
    // Copies are one picture, and a name with its folder, or of a file beside the table, leaves no doubt.
    let copies = [("mine.csv", table), ("a/0001.jpg", "one"), ("b/0001.jpg", "one"), ("a/0002.jpg", "")];
    assert_eq!(names(&open(&copies).examples), ["0001.jpg", "0002.jpg"]);
    for (name, beside) in [("train/0001.jpg", "0002.jpg"), ("0001.jpg", "0001.jpg")] {
        let table = format!("image,caption\n{name},A dog\n");
        let folder = folder(&[("mine.csv", &table), files[1], files[2], (beside, "third")]);
        let dataset = Dataset::open(folder.path()).unwrap();
        assert_eq!(dataset.examples[0].image, ImageSource::File(folder.path().join(name)));
    }
    // A picture of two names is one.
    let table = "image,caption,split\n1.jpg,A dog,train\nphotos/1.jpg,A cat,train\n";
    let dataset = open(&[("mine.csv", table), ("photos/1.jpg", "")]);
    assert_eq!(dataset.captions(Split::Train), ["A dog", "A cat"]);
    notes_hold(&dataset, "1 image with two names, taken together: 1.jpg and photos/1.jpg.");
    let leaking = table.replace("cat,train", "cat,test");
    let refused = refusal(&[("mine.csv", &leaking), ("photos/1.jpg", "")]);
    assert!(refused.starts_with("mine.csv: `1.jpg` and `photos/1.jpg` are one picture, in two splits."), "{refused}");
    // Pictures that their layout puts into two folders are two.
    let json = r#"{"images": [
        {"filepath": "train", "filename": "1.jpg", "split": "train", "sentences": [{"raw": "A dog."}]},
        {"filepath": "test", "filename": "1.jpg", "split": "test", "sentences": [{"raw": "A cat."}]}]}"#;
    let dataset = open(&[("dataset_mine.json", json), ("train/1.jpg", "one"), ("test/1.jpg", "other")]);
    assert_eq!(names(&dataset.examples), ["train/1.jpg", "test/1.jpg"]);
    assert_eq!(dataset.captions(Split::Test), ["A cat."]);
}

#[test]
fn a_picture_that_is_there_is_not_called_missing() {
    let table = "image,caption\na.jpg,A dog\nb.webp,A cat\nc.bmp,A bird\nd.webp,A boat\ne.txt,A kite\nf.jfif,Sea\n";
    let dataset = open(&[
        ("mine.csv", table),
        ("a.jpg", ""),
        ("b.webp", "RIFF\0\0\0\0WEBPVP8 "),
        ("c.bmp", "BM"),
        // A PNG by what it holds, which is what decides.
        ("d.webp", "\u{89}PNG"),
        ("e.txt", "A kite"),
        ("f.jfif", ""),
    ]);
    assert_eq!(names(&dataset.examples), ["a.jpg", "f.jfif"]);
    notes_hold(
        &dataset,
        "4 captions of 4 images in a format that is not read, left out: b.webp (WebP), c.bmp (BMP), \
         d.webp (no picture), e.txt (no picture). Convert them to JPEG or PNG.",
    );
    let folder = folder(&[("mine.csv", "image,caption\nb.webp,A cat\n")]);
    fs::write(folder.path().join("b.webp"), b"\x89PNG\r\n").unwrap();
    assert_eq!(names(&Dataset::open(folder.path()).unwrap().examples), ["b.webp"]);
}

#[test]
fn a_name_that_is_nearly_that_of_a_file_is_told() {
    for (written, on_disk) in
        [("A.JPG", "a.jpg"), ("a", "a.jpg"), ("a.jpeg", "a.jpg"), ("one/a.jpg", "two/a.jpg"), ("a.jpg", "a.png")]
    {
        let table = format!("image,caption\n{written},A dog\nb.jpg,A cat\n");
        let dataset = open(&[("mine.csv", &table), (on_disk, ""), ("b.jpg", "")]);
        assert_eq!(names(&dataset.examples), ["b.jpg"]);
        notes_hold(&dataset, &format!("that are not there, left out: {written} (there is {on_disk})."));
        let dataset = open(&[("mine.csv", &format!("image,caption\n{written},A dog\n")), (on_disk, "")]);
        notes_hold(&dataset, &format!("`{written}` is not here, but {on_disk} is."));
    }
}

#[test]
fn captions_some_folders_further_down_are_found() {
    for (captions, image) in [
        ("flickr8k/Flickr8k_text/Flickr8k.token.txt", "flickr8k/Flicker8k_Dataset/a.jpg"),
        ("archive/flickr30k/flickr30k/results.token", "archive/flickr30k/flickr30k/images/a.jpg"),
    ] {
        let dataset = open(&[(captions, "a.jpg#0\tA dog.\n"), (image, ""), ("readme.md", "")]);
        assert_eq!(names(&dataset.examples), ["a.jpg"]);
        assert!(dataset.notes.iter().all(|note| !note.contains("is here")), "{:?}", dataset.notes);
    }
}

#[test]
fn fewer_or_more_than_five_captions_are_accepted_and_noted() {
    let dataset = open(&[("x.token", &format!("{FIVE}b.jpg#0\tA cat.\nc.jpg#0\tA bird.\n")), ("a.jpg", "")]);
    notes_hold(&dataset, "Not every image has five captions: 2 images have 1 caption, 1 image has 5 captions.");
}

#[test]
fn duplicate_caption_numbers_are_noted() {
    let dataset = open(&[("x.token", "a.jpg#0\tA dog.\na.jpg#0\tA dog.\na.jpg#0\tA cat.\n"), ("a.jpg", "")]);
    assert_eq!(all_captions(&dataset), ["A dog.", "A cat."]);
    notes_hold(&dataset, "1 caption given twice with the same number and words, kept once: a.jpg (line 2).");
    notes_hold(&dataset, "1 caption with a number that another caption of the image has, kept: a.jpg (line 3).");
}

#[test]
fn duplicate_ids_of_coco_images_are_refused() {
    let json = r#"{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}], "annotations": []}"#;
    assert_eq!(
        refusal(&[("captions_train2014.json", json)]),
        "captions_train2014.json: two images have the id 1: `a.jpg` and `b.jpg`. Give every image an id of its own."
    );
}

// --- refusals ---

#[test]
fn files_that_are_missing_empty_or_folders() {
    let empty = folder(&[("x.token", ""), ("captions.txt/a.jpg", ""), ("bom.csv", "\u{feff}")]);
    let opened = |name: &str| message(Dataset::open(empty.path().join(name)), empty.path());
    assert!(opened("none").starts_with("none: cannot open the data set: No such file"), "{}", opened("none"));
    assert!(opened("none.csv").contains("name the folder of the data set, or the file of its captions"));
    assert!(opened("x.token").starts_with("x.token: the file is empty. "));
    assert!(opened("bom.csv").starts_with("bom.csv: the file is empty. "));
    assert_eq!(
        refusal(&[("captions.txt/a.jpg", "")]),
        "captions.txt: this is a folder, where a file belongs. Name the file inside it."
    );
    assert!(refusal(&[]).starts_with("FOLDER: no file of captions is recognised in this folder. Known are"));
    assert!(
        refusal(&[("a.jpg", ""), ("b.jpg", "")])
            .starts_with("FOLDER: 2 images, but no file of captions is in this folder. Write captions.csv")
    );
}

#[test]
fn rows_that_are_not_what_their_layout_promises_name_their_line() {
    for (name, text, wanted) in [
        ("x.token", "a.jpg#0 A dog.\n", "x.token, line 1: no tab between the image and its caption. "),
        ("x.token", "a.jpg#0\tA dog.\n\na.jpg\tA dog.\n", "x.token, line 3: no `#` and number after `a.jpg`. "),
        ("x.token", "a.jpg#one\tA dog.\n", "x.token, line 1: `one` is not the number of a caption. "),
        ("x.token", "#0\tA dog.\n", "x.token, line 1: a caption without the name of its image. "),
        ("x.token", "\n\n", "x.token: there is no caption in it. "),
        (
            "x.csv",
            "image caption\na.jpg A dog\n",
            "x.csv, line 1: no comma, semicolon, tab or `|` between the columns. ",
        ),
        ("x.csv", "image,caption\n", "x.csv: there is no caption in it. "),
        (
            "x.csv",
            "image,width,id\na.jpg,3,1\n",
            "x.csv, line 1: no column for the caption among `image`, `width`, `id`. ",
        ),
        ("x.csv", "id,caption\n1,A dog\n", "x.csv, line 1: no column for the image among `id`, `caption`. "),
        ("x.csv", "image,caption\r\n\r\na.jpg,A dog\r\nb.jpg\r\n", "x.csv, line 4: 1 column, where 2 are expected. "),
        ("x.csv", "image,caption\n,A dog\n", "x.csv, line 2: a caption without the name of its image. "),
        (
            "x.csv",
            "image,caption\na.jpg,\"A dog\nb.jpg,A cat\nc.jpg,\"A bird\"\n",
            "x.csv, line 2: a quotation mark opens here and is not closed before the next row. ",
        ),
        (
            "x.csv",
            "image,caption,split\na.jpg,A dog,training\nb.jpg,A cat,later\n",
            "x.csv, line 3: the split `later` is not known. A split is train, restval, val or test.",
        ),
        (
            "results.csv",
            "image_name| comment_number| comment\na.jpg| A dog\n",
            "results.csv, line 2: 2 columns, where 3 are expected. ",
        ),
        (
            "flickr_annotations_30k.csv",
            "raw,filename,split\n\"[\"\"A dog\"\"\",a.jpg,train\n",
            "flickr_annotations_30k.csv, line 2: the captions are not a JSON list of strings: ",
        ),
        ("dataset_flickr8k.json", "{\n  \"images\": [\n    {,\n", "dataset_flickr8k.json, line 3: malformed JSON: "),
        (
            "dataset_flickr8k.json",
            "{\"images\": [{\"filename\": 3}]}",
            "dataset_flickr8k.json, line 1: an unexpected value: ",
        ),
        (
            "captions_val2014.json",
            "{\"images\": []}",
            "captions_val2014.json, line 1: an unexpected value: missing field",
        ),
        (
            "captions_val2014.json",
            "{\"images\": [], \"annotations\": []}",
            "captions_val2014.json: there is no caption in it",
        ),
        (
            "dataset_flickr8k.json",
            "{\"images\": [{\"filename\": \"a.jpg\", \"split\": \"x\", \"sentences\": []}]}",
            "dataset_flickr8k.json: the image `a.jpg` is in the split `x`, which is not known. ",
        ),
    ] {
        let refused = refusal(&[(name, text)]);
        assert!(refused.starts_with(wanted), "\n{refused}\nis not\n{wanted}");
    }
}

#[test]
fn malformed_json_names_line_and_column() {
    let refused = refusal(&[("dataset_flickr8k.json", "{\n  \"images\": [\n    {,\n")]);
    assert!(refused.contains("line 3 column 6"), "{refused}");
}

#[test]
fn a_json_file_of_another_name_is_told_by_what_it_holds() {
    let json = karpathy(&[("a.jpg", "train")]);
    let files = folder(&[("mine.json", &json), ("coco.json", COCO_TRAIN), ("other.json", "{}"), ("list.json", "[1]")]);
    let layout = |name: &str| Dataset::open(files.path().join(name)).map(|dataset| dataset.layout);
    assert_eq!(layout("mine.json").unwrap(), Layout::Karpathy);
    assert_eq!(layout("coco.json").unwrap(), Layout::Coco);
    assert!(message(layout("other.json"), files.path()).starts_with("other.json: there is no list `images` in it. "));
    assert!(message(layout("list.json"), files.path()).starts_with("list.json, line 1: an unexpected value: "));
}

#[test]
fn text_that_is_not_utf8_names_the_line() {
    let files = tempfile::tempdir().unwrap();
    for (name, bytes, wanted) in [
        (
            "a.token",
            b"a.jpg#0\tA dog.\na.jpg#1\tA caf\xe9.\n".as_slice(),
            "a.token, line 2: the text is not UTF-8 (byte 0xE9). ",
        ),
        (
            "b.csv",
            b"image,caption\na.jpg,A dog\nb.jpg,A caf\xe9\n",
            "b.csv, line 3: the text is not UTF-8 (byte 0xE9). ",
        ),
        ("c.token", b"\xff\xfea\0\n\0.", "c.token, line 2: the text begins as UTF-16, and is broken here. "),
        ("d.csv", b"\xfe\xff\0a\xd8\0\0.", "d.csv, line 1: the text begins as UTF-16, and is broken here. "),
        ("e.token.gz", b"\x1f\x8b\x08\0\0", "e.token.gz: the gzip archive is broken"),
    ] {
        let path = files.path().join(name);
        fs::write(&path, bytes).unwrap();
        let refused = message(Dataset::open(&path), files.path());
        assert!(refused.starts_with(wanted), "{refused}");
    }
}

#[test]
fn byte_order_mark_and_crlf_are_accepted() {
    let dataset = open(&[("x.token", "\u{feff}a.jpg#0\tA dog.\r\na.jpg#1\tA cat.\r\n"), ("a.jpg", "")]);
    assert_eq!(names(&dataset.examples), ["a.jpg"]);
    assert_eq!(all_captions(&dataset), ["A dog.", "A cat."]);
    let json = format!("\u{feff}{}", karpathy(&[("a.jpg", "train")]).replace('\n', "\r\n"));
    assert_eq!(open(&[("dataset_flickr8k.json", &json), ("a.jpg", "")]).examples.len(), 1);
}

#[test]
fn utf16_with_a_mark_is_read_as_windows_writes_it() {
    let long = "a.jpg#0\tÄ dog \u{1F415}.\r\n".to_owned() + &"b.jpg#0\tA cat.\r\n".repeat(10_000);
    let table = "\u{feff}image,caption\r\na.jpg,Ä dog \u{1F415}.\r\n";
    let json = format!("\u{feff}{}", karpathy(&[("a.jpg", "train")]));
    for (name, text) in [("x.token", format!("\u{feff}{long}").as_str()), ("x.csv", table), ("dataset_x.json", &json)] {
        let units: Vec<u16> = text.encode_utf16().collect();
        for bytes in
            [u16::to_le_bytes, u16::to_be_bytes].map(|bytes| units.iter().copied().flat_map(bytes).collect::<Vec<u8>>())
        {
            let files = folder(&[("a.jpg", "")]);
            fs::write(files.path().join(name), bytes).unwrap();
            let dataset = Dataset::open(files.path()).unwrap();
            assert_eq!(names(&dataset.examples), ["a.jpg"], "{name}");
            assert!(["Ä dog \u{1F415}.", "A dog — \"a.jpg\"."].contains(&dataset.examples[0].captions[0].as_str()));
        }
    }
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    for name in
        ["../../etc/passwd", "/etc/passwd", "a/../../b.jpg", "C:\\b.jpg", "..\\b.jpg", "\\\\host\\b.jpg", "~/b.jpg"]
    {
        let problem = "leads out of the folder of images";
        let refused = refusal(&[("x.token", &format!("a.jpg#0\tA dog.\n{name}#0\tA dog.\n"))]);
        assert!(refused.starts_with("x.token, line 2: ") && refused.contains(problem), "{refused}");
        let refused = refusal(&[("x.csv", &format!("image,caption\n{name},A dog.\n"))]);
        assert!(refused.starts_with("x.csv, line 2: ") && refused.contains(problem), "{refused}");
        let json = karpathy(&[(&name.replace('\\', "\\\\"), "train")]);
        assert!(refusal(&[("dataset_flickr8k.json", &json)]).contains(problem));
        let json = COCO_TRAIN.replace("COCO_train2014_000000000009.jpg", &name.replace('\\', "\\\\"));
        assert!(refusal(&[("captions_train2014.json", &json)]).contains(problem));
    }
    let folder = r#"{"images": [{"filepath": "../..", "filename": "a.jpg", "split": "test", "sentences": []}]}"#;
    assert!(refusal(&[("dataset_coco.json", folder)]).contains("`../..` leads out of the folder"));
}

#[test]
fn ten_megabytes_on_one_line_are_refused() {
    let long = "dog ".repeat(2_500_000);
    for (name, text, wanted) in [
        ("x.token", format!("a.jpg#0\tA dog.\na.jpg#1\t{long}\n"), "x.token, line 2: a caption of 9999999 bytes"),
        ("x.token", long.clone(), "x.token, line 1: no tab"),
        ("x.csv", format!("image,caption\na.jpg,{long}\n"), "x.csv, line 2: a caption of 9999999 bytes"),
        ("x.csv", long.clone(), "x.csv, line 1: no comma"),
        ("x.csv", format!("image,caption\na.jpg,{}\n", "dog,".repeat(2_500_000)), "x.csv, line 2: a caption of "),
        ("x.csv", ",".repeat(10_000_000), "x.csv, line 1: "),
    ] {
        let refused = refusal(&[(name, &text)]);
        assert!(
            refused.starts_with(wanted) && refused.len() < 500,
            "{}",
            refused.chars().take(500).collect::<String>()
        );
    }
}

#[test]
fn an_image_is_not_a_data_set() {
    let files = folder(&[("a.jpg", "x")]);
    let refused = message(Dataset::open(files.path().join("a.jpg")), files.path());
    assert!(refused.starts_with("a.jpg: this is an image, not the captions of images. "), "{refused}");
}

// --- vocabulary ---

#[test]
fn captions_are_cut_into_words_as_in_the_paper() {
    for (caption, words) in [
        ("A man's T-shirt, 2 dogs.", vec!["a", "mans", "tshirt", "2", "dogs"]),
        ("  Two\tspaces \n and lines ", vec!["two", "spaces", "and", "lines"]),
        ("... -- !", vec![]),
        ("", vec![]),
        ("CAFÉ Ünïted 狗", vec!["café", "ünïted", "狗"]),
        // Marks belong to their letters, however these are typed: Hindi, Thai, Vietnamese.
        ("कुत्ता दौड़ता है।", vec!["कुत्ता", "दौड\u{93C}ता", "है"]),
        ("\u{E1A}\u{E49}\u{E32}\u{E19}", vec!["\u{E1A}\u{E49}\u{E32}\u{E19}"]),
        ("CHO\u{301} ch\u{F3} cho", vec!["ch\u{F3}", "ch\u{F3}", "cho"]),
        // What belongs to no letter is dropped.
        ("dog\u{2764}\u{FE0F} 1\u{FE0F}\u{20E3} \u{301} -\u{301}a", vec!["dog", "1", "a"]),
        ("İstanbul", vec!["istanbul"]),
        ("snake_case #1", vec!["snakecase", "1"]),
    ] {
        assert_eq!(Vocabulary::words(caption), words, "{caption}");
    }
}

#[test]
fn numbers_are_by_frequency_then_alphabet() {
    let captions = ["b b a a c", "d <start> a"];
    let vocabulary = Vocabulary::build(&captions, &VocabularyConfig { min_count: 1, max_size: None }).unwrap();
    let words: Vec<String> = vocabulary.words_by_frequency().into_iter().map(|(word, _)| word).collect();
    assert_eq!(words, ["a", "b", "c", "d", "start"]);
    assert_eq!(vocabulary.len(), 9);
    assert_eq!(vocabulary.word_count(), 5);
    assert_eq!(vocabulary.count("a"), 3);
    assert_eq!(vocabulary.count("<pad>"), 0);
    assert_eq!(vocabulary.id("<start>"), Vocabulary::UNKNOWN);
    assert_eq!(vocabulary.word(Vocabulary::START), Some("<start>"));
    assert_eq!(vocabulary.word(-1), None);
    assert_eq!(vocabulary.word(9), None);
    assert_eq!(vocabulary.decode(&[4, 3, 99, -5, 5]), "a <unknown> <unknown> <unknown> b");
    let short = Vocabulary::build(&captions, &VocabularyConfig { min_count: 1, max_size: Some(2) }).unwrap();
    assert_eq!(short.encode("a b c"), [4, 5, Vocabulary::UNKNOWN]);
}

#[test]
fn vocabulary_settings_outside_their_range_are_refused() {
    let build = |min_count, max_size| {
        Vocabulary::build(&["A dog."], &VocabularyConfig { min_count, max_size }).unwrap_err().to_string()
    };
    assert!(build(0, None).starts_with("vocabulary.min_count = 0: must be 1 or more"));
    assert!(build(1, Some(0)).starts_with("vocabulary.max_size = 0: must be 1 or more"));
    assert_eq!(
        build(2, None),
        "none of the 2 different words of 1 captions is seen 2 times or more. Give more captions, or lower `min_count`."
    );
}

#[test]
fn random_captions_come_back_from_their_numbers() {
    let letters: Vec<char> =
        "abcdefghijkABC  \t'-.,!éÜßİ狗1\u{301}\u{323}\u{915}\u{94D}\u{200D}\u{D558}\u{11AB}".chars().collect();
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let captions: Vec<String> = (0..20)
            .map(|_| (0..random.below(40)).map(|_| *random.choose(&letters)).collect())
            .chain(["always a word".into()])
            .collect();
        let vocabulary = Vocabulary::build(&captions, &VocabularyConfig { min_count: 1, max_size: None }).unwrap();
        for caption in &captions {
            let words = Vocabulary::words(caption).join(" ");
            let ids = vocabulary.encode(caption);
            assert_eq!(vocabulary.decode(&ids), words);
            assert_eq!(vocabulary.encode(&words), ids, "words are words of themselves");
            let mut ended = vocabulary.encode_with_ends(caption);
            assert_eq!(ended.len(), ids.len() + 2);
            ended.extend([Vocabulary::PAD, Vocabulary::PAD]);
            assert_eq!(vocabulary.decode(&ended), words);
        }
        assert_eq!(vocabulary.coverage(&captions).share(), 1.0);
        assert_eq!(Vocabulary::from_json(&vocabulary.to_json()).unwrap(), vocabulary);
    }
}

#[test]
fn a_saved_vocabulary_loads_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.json");
    let config = VocabularyConfig { min_count: 1, max_size: Some(3) };
    let vocabulary = Vocabulary::build(&["A dog, a cat and a \"boat\"."], &config).unwrap();
    vocabulary.save(&path).unwrap();
    vocabulary.save(&path).unwrap();
    assert_eq!(Vocabulary::load(&path).unwrap(), vocabulary);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    let refused = message(vocabulary.save(folder.path().join("none/v.json")), folder.path());
    assert!(refused.starts_with("none/v.json: cannot write the vocabulary: "), "{refused}");
}

#[test]
fn what_is_no_vocabulary_is_refused() {
    let valid =
        Vocabulary::build(&["dog dog cat"], &VocabularyConfig { min_count: 1, max_size: None }).unwrap().to_json();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("v.json");
    for (json, wanted) in [
        (String::new(), "v.json: the file is empty"),
        ("{".into(), "v.json, line 1: this is not a vocabulary in JSON: "),
        (valid.replace("captionlab vocabulary", "other"), "v.json: this is `other` version 1, not"),
        (valid.replace("dog", "Dog!"), "v.json: `Dog!` is not a word"),
        (valid.replace("dog", "cat"), "v.json: a word stands in it twice"),
        (valid.replace("\"min_count\":1", "\"min_count\":0"), "v.json: vocabulary.min_count = 0"),
    ] {
        fs::write(&path, json).unwrap();
        let refused = message(Vocabulary::load(&path), files.path());
        assert!(refused.starts_with(wanted), "{refused}");
    }
    assert!(message(Vocabulary::load(files.path()), files.path()).contains("this is a folder"));
}

#[test]
fn coverage_counts_words_and_different_words() {
    let vocabulary = Vocabulary::build(&["a dog a cat"], &VocabularyConfig { min_count: 1, max_size: None }).unwrap();
    let coverage = vocabulary.coverage(&["A dog and a horse.", "A horse."]);
    assert_eq!((coverage.words, coverage.known_words), (7, 4));
    assert_eq!((coverage.distinct_words, coverage.known_distinct_words), (4, 2));
    assert!((coverage.out_of_vocabulary_rate() - 3.0 / 7.0).abs() < 1e-12);
    assert_eq!(vocabulary.coverage::<&str>(&[]).share(), 1.0);
}

// --- statistics ---

#[test]
fn statistics_of_captions() {
    let captions = ["A dog runs.", "A brown dog!", "A brown dog runs", ""];
    assert_eq!(statistics::caption_lengths(&captions), [3, 3, 4, 0]);
    let pairs = |pairs: &[(&str, usize)]| -> Vec<(String, usize)> {
        pairs.iter().map(|(words, count)| (words.to_string(), *count)).collect()
    };
    assert_eq!(statistics::word_counts(&captions), pairs(&[("a", 3), ("dog", 3), ("brown", 2), ("runs", 2)]));
    let bigrams = pairs(&[("a brown", 2), ("brown dog", 2), ("dog runs", 2), ("a dog", 1)]);
    for n in 0..6 {
        assert_eq!(statistics::most_common_bigrams(&captions, n), bigrams[..n.min(4)]);
    }
    assert_eq!(statistics::vocabulary_sizes(&captions, &[1, 2, 3, 4]), [(1, 4), (2, 4), (3, 2), (4, 0)]);
    assert_eq!(statistics::coverage_by_size(&captions, &[0, 2, 9]), [(0, 0.0), (2, 0.6), (9, 1.0)]);
    assert_eq!(statistics::coverage_by_size::<&str>(&[], &[1]), [(1, 0.0)]);
}

#[test]
fn captions_of_one_picture_agree_on_some_words() {
    let captions = ["A dog and a cat", "The dog", "A dog sleeps"];
    let agreement = statistics::caption_agreement(&captions);
    let agreement: Vec<(&str, usize)> = agreement.iter().map(|(word, captions)| (word.as_str(), *captions)).collect();
    assert_eq!(agreement, [("dog", 3), ("a", 2), ("and", 1), ("cat", 1), ("the", 1), ("sleeps", 1)]);
}

// --- real data ---

#[test]
fn flickr30k_text_gives_a_vocabulary_near_the_papers() {
    let Some(path) = shared("flickr30k-text") else { return println!("skipped: ../shared/flickr30k-text is not here") };
    let dataset = Dataset::open(path).unwrap();
    assert_eq!(dataset.layout, Layout::Flickr30kTokens);
    assert_eq!((dataset.examples.len(), dataset.caption_count()), (31_014, 155_070));
    let sizes = [Split::Train, Split::Validation, Split::Test].map(|split| dataset.split_size(split));
    assert_eq!(sizes, [29_000, 1_014, 1_000]);
    assert_eq!(dataset.notes.len(), 1, "{:?}", dataset.notes);
    notes_hold(&dataset, "None of the 31,014 images is here");
    let vocabulary = Vocabulary::build(&dataset.captions(Split::Train), &VocabularyConfig::default()).unwrap();
    assert_eq!(vocabulary.word_count(), 7_469);
    let coverage = vocabulary.coverage(&dataset.captions(Split::Test));
    assert!((0.001..0.02).contains(&coverage.out_of_vocabulary_rate()), "{coverage}");
}

#[test]
fn flickr30k_sample_is_read_with_its_images_and_splits() {
    let Some(path) = shared("flickr30k-sample") else {
        return println!("skipped: ../shared/flickr30k-sample is not here");
    };
    let dataset = Dataset::open(&path).unwrap();
    assert_eq!(dataset.layout, Layout::Karpathy);
    let sizes = [Split::Train, Split::Validation, Split::Test].map(|split| dataset.split_size(split));
    assert_eq!(sizes, [480, 60, 60]);
    assert!(dataset.examples.iter().all(|example| match &example.image {
        ImageSource::File(path) => path.is_file(),
        ImageSource::Scene { .. } => false,
    }));
    let tokens = Dataset::open(path.join("results_20130124.token")).unwrap();
    assert_eq!(tokens.layout, Layout::Flickr30kTokens);
    assert_eq!(tokens.examples.len(), 600);
    assert_eq!(all_captions(&tokens), all_captions(&dataset));
}

#[test]
fn words_are_the_tokens_of_a_karpathy_file_except_at_hyphens() {
    let Some(path) = shared("flickr30k-sample/dataset_flickr30k.json") else {
        return println!("skipped: ../shared/flickr30k-sample is not here");
    };
    let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for sentence in file["images"].as_array().unwrap().iter().flat_map(|image| image["sentences"].as_array().unwrap()) {
        let tokens: Vec<&str> =
            sentence["tokens"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let raw = sentence["raw"].as_str().unwrap();
        assert_eq!(Vocabulary::words(&raw.replace('-', " ")), tokens);
        assert_eq!(Vocabulary::words(raw).concat(), tokens.concat());
    }
}

/// Two images with their captions, and Flickr30k Entities of them.
const ENTITIES: [(&str, &str); 5] = [
    (
        "captions.csv",
        "image,caption\na.jpg,A young man in a hat doesn't run.\na.jpg,Two men outside.\nb.jpg,A dog.\nb.jpg,It sleeps.\n",
    ),
    (
        "entities/Sentences/a.txt",
        "[/EN#12/people Two men] [/EN#15/scene outside] .\n[/EN#11/people A young man] in [/EN#13/clothing a hat] does n't run .\n",
    ),
    (
        "entities/Annotations/a.xml",
        "<annotation><size><width>100</width><height>80</height><depth>3</depth></size>
<object><name>11</name><name>12</name>
<bndbox><xmin>1</xmin><ymin>11</ymin><xmax>10</xmax><ymax>80</ymax></bndbox></object>
<object><name>12</name>
<bndbox><xmin>51</xmin><ymin>11</ymin><xmax>60</xmax><ymax>80</ymax></bndbox></object>
<object><name>13</name>
<bndbox><xmin>3</xmin><ymin>11</ymin><xmax>3</xmax><ymax>11</ymax></bndbox></object>
<object><name>15</name><scene>1</scene><nobndbox>0</nobndbox></object></annotation>",
    ),
    ("entities/Sentences/b.txt", "[/EN#7/animals A dog] .\n[/EN#7/animals It] sleeps .\n"),
    (
        "entities/Annotations/b.xml",
        "<annotation><size><width>100</width><height>80</height></size>
<object><name>7</name>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>100</xmax><ymax>80</ymax></bndbox></object></annotation>",
    ),
];

/// These files with some texts replaced: file, from, to.
fn entities_with(changes: &[(&str, &str, &str)]) -> (TempDir, Result<Dataset>) {
    let folder = folder(&ENTITIES);
    for (name, from, to) in changes {
        let path = folder.path().join("entities").join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }
    let dataset = Dataset::open(folder.path()).unwrap();
    let annotated = dataset.with_entities(folder.path());
    (folder, annotated)
}

/// A phrase of an example, as words, and the corners of its regions.
fn phrases(example: &Example) -> Vec<(String, Vec<[f32; 4]>)> {
    let phrase = |link: &PhraseLink| {
        let words = Vocabulary::words(&example.captions[link.caption]);
        let corners = |region: &usize| {
            let bounds = example.regions[*region].bounds;
            [bounds.left, bounds.top, bounds.right, bounds.bottom]
        };
        (words[link.first_word..link.end_word].join(" "), link.regions.iter().map(corners).collect())
    };
    example.links.iter().map(phrase).collect()
}

#[test]
fn entities_give_phrases_and_boxes_to_the_captions_of_their_words() {
    let (_folder, dataset) = entities_with(&[]);
    let dataset = dataset.unwrap();
    let [man, other, hat] = [[0.0, 10.0, 10.0, 80.0], [50.0, 10.0, 60.0, 80.0], [2.0, 10.0, 3.0, 11.0]];
    let example = &dataset.examples[0];
    // The captions are in another order, and `does n't` is one word here.
    assert_eq!(
        phrases(example),
        [("a young man".into(), vec![man]), ("a hat".into(), vec![hat]), ("two men".into(), vec![man, other])]
    );
    let labels: Vec<&str> = example.regions.iter().map(|region| region.label.as_str()).collect();
    assert_eq!(labels, ["people", "people", "clothing"]);
    let around = example.bounds_of(&example.links[2]).unwrap();
    assert_eq!([around.left, around.top, around.right, around.bottom], [0.0, 10.0, 60.0, 80.0]);
    assert_eq!(phrases(&dataset.examples[1]).len(), 2);
    notes_hold(&dataset, "1 phrase without a box gives no link: 1 of the whole scene.");
    // With marks of byte order and line ends of Windows it is the same.
    let (folder, _) = entities_with(&[]);
    for (name, text) in &ENTITIES[1..] {
        fs::write(folder.path().join(name), format!("\u{FEFF}{}", text.replace('\n', "\r\n"))).unwrap();
    }
    let windows = Dataset::open(folder.path()).unwrap().with_entities(folder.path().join("entities")).unwrap();
    assert_eq!((windows.examples.len(), phrases(&windows.examples[0])), (2, phrases(example)));
    // Given twice, it is replaced, not doubled.
    let twice = windows.clone().with_entities(folder.path()).unwrap();
    assert_eq!(twice.examples, windows.examples);
}

#[test]
fn what_is_odd_in_entities_is_named_with_file_and_line_and_the_rest_is_kept() {
    let (a, boxes) = ("Sentences/a.txt", "Annotations/a.xml");
    for (change, left, said) in [
        (
            (a, "A young man]", "A young man"),
            1,
            "1 sentence with brackets that do not pair, whose phrases are left out: Sentences/a.txt line 2 (a phrase begins inside another).",
        ),
        ((a, "a hat]", "a hat]]"), 1, "Sentences/a.txt line 2 (a `]` closes no phrase)"),
        (
            (a, " run .", " walk ."),
            1,
            "1 sentence in other words than the captions of the image, whose phrases are left out: Sentences/a.txt line 2.",
        ),
        (
            (a, "EN#13", "EN#99"),
            2,
            "1 phrase of entities that are not in the file of boxes, left out: Sentences/a.txt line 2 (EN#99).",
        ),
        (
            (a, "EN#13/clothing", "EN#0/notvisual"),
            2,
            "2 phrases without a box give no link: 1 of the whole scene, 1 not visual (EN#0).",
        ),
        (
            (a, " [/EN#15/scene outside]", " outside [/EN#15/scene ,]"),
            3,
            "1 phrase without a word left out: Sentences/a.txt line 1 (EN#15).",
        ),
        (
            (a, "[/EN#12/people Two men] [/EN#15/scene outside] .\n", ""),
            2,
            "1 file with fewer sentences than the image has captions: Sentences/a.txt (1 of 2).",
        ),
        (
            (boxes, "<xmin>3</xmin>", "<xmin>4</xmin>"),
            2,
            "1 region without area in the picture left out: Annotations/a.xml line 7.",
        ),
        (
            (boxes, "<xmin>3</xmin>", "<xmin>-3</xmin>"),
            3,
            "1 region cut off at the border of the picture: Annotations/a.xml line 7.",
        ),
        (
            (boxes, "<xmin>3</xmin><ymin>11</ymin><xmax>3<", "<xmin>103</xmin><ymin>11</ymin><xmax>130<"),
            2,
            "1 with a box that was left out",
        ),
        (
            (boxes, "<name>13</name>", "<name>14</name>"),
            2,
            "1 region of entities without a type in any sentence, labelled `other`: Annotations/a.xml line 7.",
        ),
        (
            (boxes, "</bndbox>", ""),
            0,
            "1 file of annotations that cannot be read, left out: Annotations/a.xml line 3 (`</object>` closes nothing).",
        ),
        ((boxes, "<annotation>", "<!DOCTYPE annotation>"), 0, "Annotations/a.xml line 1 (a document type or CDATA"),
    ] {
        let (_folder, dataset) = entities_with(&[change]);
        let dataset = dataset.unwrap();
        notes_hold(&dataset, said);
        assert_eq!(dataset.examples[0].links.len(), left, "{said}");
        assert_eq!(dataset.examples[1].links.len(), 2, "{said}");
        assert_eq!((dataset.examples.len(), dataset.caption_count()), (2, 4));
    }
}

#[test]
fn entities_that_are_missing_or_not_text_are_named() {
    for (file, text, said) in [
        ("Annotations/a.xml", None, "1 file of sentences without a file of boxes, left out: Sentences/a.txt."),
        ("Sentences/a.txt", None, "1 file of boxes without a file of sentences, so without links: Annotations/a.xml."),
        ("Annotations/a.xml", Some(&b""[..]), "Annotations/a.xml (the file is empty)"),
        ("Sentences/a.txt", Some(&b"A caf\xE9 .\n"[..]), "Sentences/a.txt line 1 (the text is not UTF-8 (byte 0xE9))"),
        (
            "Annotations/a.xml",
            Some(&b"<annotation>\n\xFF"[..]),
            "Annotations/a.xml line 2 (the text is not UTF-8 (byte 0xFF))",
        ),
    ] {
        let (folder, _) = entities_with(&[]);
        let path = folder.path().join("entities").join(file);
        fs::remove_file(&path).unwrap();
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let dataset = Dataset::open(folder.path()).unwrap().with_entities(folder.path()).unwrap();
        notes_hold(&dataset, said);
        assert!(dataset.examples[0].links.is_empty() && dataset.examples[1].links.len() == 2, "{said}");
    }
    let (folder, _) = entities_with(&[]);
    let entities = folder.path().join("entities");
    fs::rename(entities.join("Sentences/b.txt"), entities.join("Sentences/c.txt")).unwrap();
    fs::remove_file(entities.join("Annotations/b.xml")).unwrap();
    let open = || Dataset::open(folder.path()).unwrap();
    let dataset = open().with_entities(folder.path()).unwrap();
    notes_hold(&dataset, "1 image without annotations: b.jpg.");
    notes_hold(&dataset, "1 file of Sentences is of no image of the data set.");

    fs::remove_file(entities.join("Annotations/a.xml")).unwrap();
    let said = message(open().with_entities(folder.path()), folder.path());
    assert!(said.starts_with("FOLDER: nothing here annotates an image of the data set. 1 image without"), "{said}");
    let said = message(open().with_entities(entities.join("Sentences")), &entities);
    assert!(said.contains("there are no folders `Sentences` and `Annotations` beside each other in it"), "{said}");
    let said = message(open().with_entities(folder.path().join("nowhere")), folder.path());
    assert!(said.starts_with("nowhere: cannot list the folder"), "{said}");
    for name in ["Sentences", "Annotations"] {
        fs::create_dir_all(folder.path().join("copy").join(name)).unwrap();
    }
    let said = message(open().with_entities(folder.path()), folder.path());
    assert!(said.contains("several folders in it hold sentences: copy/Sentences, entities/Sentences"), "{said}");
}

#[test]
fn pictures_of_another_size_than_was_annotated_are_noted() {
    let folder = folder(&ENTITIES);
    let open = || Dataset::open(folder.path()).unwrap().with_entities(folder.path()).unwrap();
    for (name, width) in [("a.jpg", 80), ("b.jpg", 100)] {
        let picture = image::RgbImage::new(width, 180 - width);
        picture.save_with_format(folder.path().join(name), image::ImageFormat::Png).unwrap();
    }
    // One of them lies on its side.
    assert!(open().notes.iter().all(|note| !note.contains("looked at")), "{:#?}", open().notes);
    let picture = image::RgbImage::new(50, 40);
    picture.save_with_format(folder.path().join("b.jpg"), image::ImageFormat::Png).unwrap();
    notes_hold(
        &open(),
        "1 of 2 pictures looked at are not of the size that was annotated, so boxes do not fit: b.jpg (50×40, not 100×80).",
    );
}

#[test]
fn images_of_one_name_in_several_folders_are_not_annotated() {
    let folder = folder(&ENTITIES);
    let table = "image,caption\nx/a.jpg,Two men outside.\ny/a.jpg,A cat.\nb.jpg,A dog.\n";
    fs::write(folder.path().join("captions.csv"), table).unwrap();
    let dataset = Dataset::open(folder.path()).unwrap().with_entities(folder.path()).unwrap();
    notes_hold(
        &dataset,
        "2 images not annotated, as another has the same name without folder and ending: x/a.jpg, y/a.jpg.",
    );
    let regions: Vec<usize> = dataset.examples.iter().map(|example| example.regions.len()).collect();
    assert_eq!(regions, [0, 0, 1]);
}

#[test]
fn damaged_entities_are_read_without_a_panic() {
    let mut random = Random::new(5);
    for _ in 0..300 {
        let folder = folder(&ENTITIES);
        for (name, text) in &ENTITIES[1..] {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..random.below(6) {
                let place = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[place] = *random.choose(b"[]<>/#\n\xC3 0-"),
                    1 => bytes.truncate(place.max(1)),
                    _ => bytes.insert(place, *random.choose(b"[]<>/#\n\xC3 0-")),
                }
            }
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let Ok(dataset) = Dataset::open(folder.path()).unwrap().with_entities(folder.path()) else { continue };
        for example in &dataset.examples {
            for region in &example.regions {
                region.bounds.validate().unwrap();
            }
            for link in &example.links {
                assert!(link.first_word < link.end_word && !link.regions.is_empty());
                assert!(link.end_word <= Vocabulary::words(&example.captions[link.caption]).len());
                assert!(link.regions.iter().all(|region| *region < example.regions.len()));
            }
        }
    }
}
