//! What everything after relies on: Scenes is hard enough, true, and holds still.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use captionlab::data::scenes::{
    Backdrop, CAPTIONS, Claim, ClaimScore, Colour, Difficulty, Kind, Relation, SIDE, Scene, ScenesConfig, claims,
    export, words,
};
use captionlab::data::{Dataset, ImageSource, Layout, Random, Split};
use rayon::prelude::*;

/// FNV-1a, 64 bits.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// The scenes of the default data set.
fn default_scenes() -> Vec<Scene> {
    let data = Dataset::scenes(&ScenesConfig::default()).expect("the default is valid");
    data.examples.par_iter().map(|example| Scene::of(example).expect("every example is a scene")).collect()
}

#[test]
fn version_1_is_frozen() {
    let scenes: Vec<Scene> = (0..20).map(|index| Scene::generate(1, index)).collect();
    let pixels = hash(scenes.iter().flat_map(|scene| scene.draw().into_raw()));
    let captions = hash(scenes.iter().flat_map(Scene::captions).flat_map(|caption| caption.bytes().chain([b'\n'])));
    let boxes = hash(scenes.iter().flat_map(Scene::regions).flat_map(|region| {
        let bounds = region.bounds;
        [bounds.left, bounds.top, bounds.right, bounds.bottom].into_iter().flat_map(f32::to_le_bytes)
    }));
    let found = format!("pixels {pixels:#018x}, captions {captions:#018x}, boxes {boxes:#018x}");
    assert_eq!(
        found, "pixels 0xe65c8368c335f5f0, captions 0xff62ef31944ed8ae, boxes 0x228c01f04ca6d0eb",
        "a change of pictures or captions is a new version, with every published figure measured again"
    );
}

#[test]
fn the_documented_difficulty_is_what_is_measured_and_is_hard_enough() {
    let scenes = default_scenes();
    let measured = Difficulty::measure(&scenes);
    assert_eq!(include_str!("../src/data/scenes/difficulty.txt"), measured.to_string());

    let two_or_more = 1.0 - measured.things[0];
    assert!(two_or_more >= 0.6, "{two_or_more}");
    assert!(measured.occlusion_or_same_kind >= 0.25, "{}", measured.occlusion_or_same_kind);
    assert!(measured.shorter_side[0] >= 12.0, "{:?}", measured.shorter_side);
    assert!(measured.least_visible >= 0.5, "{}", measured.least_visible);
    assert!(measured.different_words >= 150, "{}", measured.different_words);
    assert!(measured.coloured_per_caption >= 1.0, "{}", measured.coloured_per_caption);
    // Captions name only part of what is there.
    assert!(measured.things_named < 0.8, "{}", measured.things_named);
    assert_eq!(Difficulty::measure(&[]).scenes, 0);

    // Everything that can be drawn is drawn often enough to be learnt.
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for scene in &scenes[..3000] {
        *seen.entry(format!("backdrop {}", scene.backdrop())).or_default() += 1;
        for thing in scene.things() {
            *seen.entry(format!("kind {}", thing.kind)).or_default() += 1;
            *seen.entry(format!("colour {}", thing.colour)).or_default() += 1;
        }
    }
    for name in Backdrop::ALL.iter().map(|it| format!("backdrop {it}")).chain(
        Kind::ALL.iter().map(|it| format!("kind {it}")).chain(Colour::ALL.iter().map(|it| format!("colour {it}"))),
    ) {
        assert!(seen.get(&name).is_some_and(|count| *count >= 100), "{name}: {:?}", seen.get(&name));
    }
    assert!(Kind::ALL.len() >= 12 && Colour::ALL.len() >= 8 && Backdrop::ALL.len() >= 6);
}

#[test]
fn every_caption_is_true_and_says_something() {
    let relations: BTreeSet<Relation> = default_scenes()
        .par_iter()
        .flat_map_iter(|scene| {
            scene.captions().iter().flat_map(|caption| {
                let read = claims(caption);
                assert!(!read.is_empty(), "{caption}");
                for claim in &read {
                    assert!(scene.is_true(claim), "{}: {caption}: {claim}", scene.name());
                }
                read
            })
        })
        .filter_map(|claim| if let Claim::Related(_, relation, _) = claim { Some(relation) } else { None })
        .collect();
    assert_eq!(relations.len(), Relation::ALL.len(), "{relations:?}");
}

#[test]
fn captions_of_another_picture_are_mostly_false() {
    let scenes: Vec<Scene> = (0..300).map(|index| Scene::generate(5, index)).collect();
    let own: Vec<&str> = scenes.iter().map(|scene| scene.captions()[0].as_str()).collect();
    let mut others = own.clone();
    others.rotate_left(1);
    let own = ClaimScore::of(&scenes, &own).expect("as many captions as scenes");
    let others = ClaimScore::of(&scenes, &others).expect("as many captions as scenes");
    assert_eq!(own.precision(), 1.0);
    assert!(others.precision() < 0.1, "{others}");
    assert!(own.recall() > 0.3 && own.recall() < 0.9, "{own}");
}

#[test]
fn boxes_and_links_stay_inside_their_picture_and_captions() {
    for index in 0..500 {
        let scene = Scene::generate(3, index);
        assert!((1..=4).contains(&scene.things().len()));
        assert_eq!(scene.captions().len(), CAPTIONS);
        for region in scene.regions() {
            let bounds = region.bounds;
            assert!(bounds.left >= 0.0 && bounds.top >= 0.0, "{region:?}");
            assert!(bounds.right <= SIDE as f32 && bounds.bottom <= SIDE as f32, "{region:?}");
            assert!(bounds.right - bounds.left >= 12.0 && bounds.bottom - bounds.top >= 12.0, "{region:?}");
        }
        for link in scene.links() {
            let words = words(&scene.captions()[link.caption]);
            assert!(link.first_word < link.end_word && link.end_word <= words.len(), "{link:?}");
            assert!(!link.regions.is_empty() && link.regions.iter().all(|region| *region < scene.things().len()));
            if words[link.first_word] == "two" {
                assert_eq!(link.regions.len(), 2, "{words:?}");
            }
        }
    }
}

#[test]
fn colours_can_be_seen_in_their_boxes() {
    // The most saturated colours are easiest to check: inside a red thing's box, red is there.
    for index in 0..400 {
        let scene = Scene::generate(8, index);
        let picture = scene.draw();
        for thing in scene.things().iter().filter(|thing| thing.colour == Colour::Red) {
            let bounds = thing.bounds;
            let red = (bounds.top as u32..bounds.bottom as u32)
                .flat_map(|y| (bounds.left as u32..bounds.right as u32).map(move |x| (x, y)))
                .filter(|&(x, y)| {
                    let [red, green, blue] = picture.get_pixel(x, y).0;
                    red > 150 && green < 110 && blue < 110
                })
                .count();
            assert!(red > 20, "{}: {thing:?}: {red} red pixels", scene.name());
        }
    }
}

#[test]
fn the_data_set_is_the_same_for_the_same_seed_and_split_without_copies() {
    let config = ScenesConfig { train: 600, validation: 60, test: 60, seed: 1 };
    let data = Dataset::scenes(&config).expect("a valid config");
    assert_eq!(data, Dataset::scenes(&config).expect("a valid config"));
    assert_eq!(data.layout, Layout::Scenes);
    let count = |split| data.examples.iter().filter(|example| example.split == Some(split)).count();
    assert_eq!([count(Split::Train), count(Split::Validation), count(Split::Test)], [600, 60, 60]);
    assert_eq!(data.examples[17].name, "scene-000017");
    assert_eq!(data.examples[17].image, ImageSource::Scene { seed: 1, index: 17 });
    let names: HashSet<&String> = data.examples.iter().map(|example| &example.name).collect();
    assert_eq!(names.len(), data.examples.len());

    let pictures: HashSet<Vec<u8>> = data
        .examples
        .par_iter()
        .map(|example| Scene::of(example).expect("every example is a scene").draw().into_raw())
        .collect();
    assert_eq!(pictures.len(), data.examples.len(), "a picture occurs twice");

    // A larger training set leaves the other splits what they are.
    let larger = Dataset::scenes(&ScenesConfig { train: 700, ..config.clone() }).expect("a valid config");
    assert_eq!(larger.examples[700..], data.examples[600..]);
    assert_ne!(Dataset::scenes(&ScenesConfig { seed: 2, ..config }).expect("a valid config"), data);
}

#[test]
fn more_pictures_than_a_split_can_hold_is_an_error() {
    for config in [
        ScenesConfig { train: 800_001, ..ScenesConfig::default() },
        ScenesConfig { validation: 100_001, ..ScenesConfig::default() },
        ScenesConfig { test: usize::MAX, ..ScenesConfig::default() },
    ] {
        let message = Dataset::scenes(&config).expect_err("too many").to_string();
        assert!(message.contains("scenes."), "{message}");
    }
    let none = ScenesConfig { train: 0, validation: 0, test: 0, seed: 9 };
    assert!(Dataset::scenes(&none).expect("no pictures is a data set too").examples.is_empty());
}

#[test]
fn word_salad_is_read_without_complaint() {
    let mut vocabulary: Vec<String> = (0..300)
        .flat_map(|index| Scene::generate(1, index).captions().to_vec())
        .flat_map(|text| words(&text))
        .collect();
    vocabulary.sort();
    vocabulary.dedup();
    vocabulary.extend(["<unk>", "ünïcödé", "狗", "…", "-", "🎈", "", "İ", "two's"].map(String::from));
    let scene = Scene::generate(1, 0);
    let mut random = Random::new(4);
    for _ in 0..20_000 {
        let length = random.below(24);
        let salad: Vec<&str> = (0..length).map(|_| random.choose(&vocabulary).as_str()).collect();
        let read = claims(&salad.join(" "));
        assert!(read.is_sorted() && read.windows(2).all(|pair| pair[0] != pair[1]));
        for claim in read {
            scene.is_true(&claim);
            let _ = claim.to_string();
        }
    }
}

#[test]
fn a_picture_can_be_drawn_in_any_size() {
    let scene = Scene::generate(1, 3);
    assert_eq!(scene.draw(), scene.draw_at(SIDE));
    assert_eq!(scene.draw_at(300).dimensions(), (300, 300));
    assert_eq!(scene.draw_at(0).dimensions(), (16, 16));
    // A larger picture shows the same: its small copy differs little.
    let small = scene.draw();
    let large = scene.draw_at(4 * SIDE);
    let difference: f64 = small
        .enumerate_pixels()
        .map(|(x, y, pixel)| {
            (0..3)
                .map(|channel| {
                    let mean = (0..16)
                        .map(|at| f64::from(large.get_pixel(4 * x + at % 4, 4 * y + at / 4).0[channel]))
                        .sum::<f64>()
                        / 16.0;
                    (mean - f64::from(pixel.0[channel])).abs()
                })
                .sum::<f64>()
        })
        .sum::<f64>()
        / f64::from(3 * SIDE * SIDE);
    assert!(difference < 3.0, "{difference}");
}

/// All files below a folder, by their path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(inside).expect("it is a folder") {
            let path = entry.expect("it can be listed").path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).expect("it is below").display().to_string();
                    files.insert(name, fs::read(&path).expect("it can be read"));
                }
            }
        }
    }
    files
}

const FEW: ScenesConfig = ScenesConfig { train: 6, validation: 3, test: 3, seed: 7 };

#[test]
fn exported_scenes_are_read_back_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    // Many, so that there are pictures with things that no caption names, and phrases with two of a kind.
    let config = ScenesConfig { train: 60, ..FEW };
    let scenes = Dataset::scenes(&config).expect("a valid config");
    let out = folder.path().join("new/scenes");
    let exported = export(&config, &out, |_, _| {}).expect("an empty folder");
    assert_eq!((exported.pictures, exported.written, exported.kept), (66, 3 * 66 + 7, 0));
    let data = Dataset::open(&out).and_then(|data| data.with_entities(&out)).expect("it is a data set");
    assert_eq!((data.layout, data.notes.as_slice()), (Layout::Karpathy, &[][..]));
    assert_eq!(data.examples.len(), scenes.examples.len());
    for (found, scene) in data.examples.iter().zip(&scenes.examples) {
        assert_eq!(found.name, format!("{}.png", scene.name));
        assert_eq!((&found.captions, found.split), (&scene.captions, scene.split));
        assert_eq!((&found.regions, &found.links), (&scene.regions, &scene.links), "{}", scene.name);
        let pictures = [found, scene].map(|example| example.picture().expect("it can be read"));
        assert_eq!(pictures[0], pictures[1]);
    }
    // So are COCO's captions, with pictures and splits.
    let coco = Dataset::open(out.join("annotations/captions_test.json")).expect("it is a data set");
    assert_eq!((coco.layout, coco.examples.len()), (Layout::Coco, 3));
    for (found, scene) in coco.examples.iter().zip(scenes.split(Split::Test)) {
        assert_eq!((&found.captions, found.split), (&scene.captions, Some(Split::Test)));
        assert!(matches!(&found.image, ImageSource::File(path) if path.exists()));
    }
    let all = Dataset::open(out.join("annotations")).expect("it is a data set");
    assert_eq!(all.captions(Split::Train), scenes.captions(Split::Train));
    // And its boxes, whose ids begin at 1.
    let mut ids = BTreeSet::new();
    for (split, name) in [(Split::Train, "train"), (Split::Validation, "val"), (Split::Test, "test")] {
        let text = fs::read(out.join(format!("annotations/instances_{name}.json"))).expect("it is written");
        let coco: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
        let categories = coco["categories"].as_array().expect("a list");
        assert_eq!(categories.len(), Kind::ALL.len());
        let mut found = Vec::new();
        for instance in coco["annotations"].as_array().expect("a list") {
            assert!(ids.insert(instance["id"].as_u64().expect("a number")));
            let category = categories.iter().find(|category| category["id"] == instance["category_id"]);
            let image =
                coco["images"].as_array().expect("a list").iter().find(|image| image["id"] == instance["image_id"]);
            let side = |place: usize| instance["bbox"][place].as_f64().expect("a number");
            assert_eq!(instance["area"].as_f64(), Some(side(2) * side(3)));
            found.push((
                image.expect("it is listed")["file_name"].as_str().expect("a text").to_string(),
                category.expect("it is listed")["name"].as_str().expect("a text").to_string(),
                [side(0), side(1), side(0) + side(2), side(1) + side(3)],
            ));
        }
        let scenes = scenes.split(split).into_iter().flat_map(|scene| {
            scene.regions.into_iter().map(move |region| {
                let bounds = region.bounds;
                let corners = [bounds.left, bounds.top, bounds.right, bounds.bottom].map(f64::from);
                (format!("{}.png", scene.name), region.label, corners)
            })
        });
        assert_eq!(found, scenes.collect::<Vec<_>>());
    }
    assert!(ids.first().is_some_and(|id| *id >= 1));
}

#[test]
fn an_export_is_the_same_bytes_for_the_same_seed_and_goes_on_where_it_was_interrupted() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two, other] = ["one", "two", "other"].map(|name| folder.path().join(name));
    let mut steps = Vec::new();
    export(&FEW, &one, |done, all| steps.push((done, all))).expect("a new folder");
    assert_eq!(steps.last(), Some(&(43, 43)));
    export(&FEW, &two, |_, _| {}).expect("a new folder");
    let whole = files(&one);
    assert_eq!(whole.len(), 43);
    assert!(whole == files(&two), "two exports differ");
    // As on other machines. A change of this is one of the files' layout, or of the crate that packs PNG.
    let bytes = hash(whole.iter().flat_map(|(name, bytes)| name.bytes().chain(bytes.iter().copied())));
    assert_eq!(format!("{bytes:#018x}"), "0xa022120a98d09f71");
    let seed = ScenesConfig { seed: 8, ..FEW };
    export(&seed, &other, |_, _| {}).expect("a new folder");
    assert!(whole.iter().zip(files(&other)).all(|((_, one), (_, other))| *one != other));

    // Killed in the middle: some files are not there, one is unfinished, and the system left something hidden.
    for name in ["dataset_scenes.json", "images/scene-000002.png", "entities/Sentences/scene-900001.txt"] {
        fs::remove_file(two.join(name)).expect("it was written");
    }
    fs::write(two.join("images/.scene-000002.png.1-2.partial"), "half").expect("the folder can be written");
    let exported = export(&FEW, &two, |_, _| {}).expect("it goes on");
    assert_eq!((exported.written, exported.kept), (3, 40));
    assert!(whole == files(&two), "it is not whole");
    fs::write(two.join(".DS_Store"), "").expect("the folder can be written");
    assert_eq!(export(&FEW, &two, |_, _| {}).expect("it is there").kept, 43);
}

#[test]
fn a_folder_that_holds_something_else_is_refused_untouched() {
    let folder = tempfile::tempdir().expect("a folder");
    export(&FEW, folder.path(), |_, _| {}).expect("an empty folder");
    let refused = |config: &ScenesConfig, said: &str| {
        let before = files(folder.path());
        let message = export(config, folder.path(), |_, _| {}).expect_err("it is refused").to_string();
        assert!(message.contains(said) && message.ends_with("Nothing was written."), "{message}");
        assert!(before == files(folder.path()), "something was written");
    };
    refused(&ScenesConfig { seed: 8, ..FEW }, "is another file than this export would write");
    refused(&ScenesConfig { train: 9, ..FEW }, ".json is another file than this export would write");
    refused(&ScenesConfig { train: 5, ..FEW }, "scene-000005");
    refused(&ScenesConfig { test: 0, ..FEW }, "which is not of this export");
    for name in ["notes.txt", "images/own/a.png", "entities/train.txt"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(&path, "mine").expect("it can be written");
        refused(&FEW, &format!("holds `{}`", name.trim_end_matches("/a.png")));
        fs::remove_file(&path).expect("it is there");
        fs::remove_dir(folder.path().join("images/own")).ok();
    }
    let file = folder.path().join("dataset_scenes.json");
    let message = export(&FEW, &file, |_, _| {}).expect_err("it is a file").to_string();
    assert!(message.contains("dataset_scenes.json: cannot list the folder"), "{message}");
    let none = ScenesConfig { train: 0, validation: 0, test: 0, seed: 1 };
    let message = export(&none, folder.path().join("none"), |_, _| {}).expect_err("nothing").to_string();
    assert!(message.contains("scenes.train = 0: must be 1 or more"), "{message}");
    assert!(!folder.path().join("none").exists());
}

/// `cargo test --test scenes -- --ignored sheet` writes a sheet of 64 pictures, to be looked at.
#[test]
#[ignore = "draws a sheet to look at"]
fn sheet_of_64() {
    let side = 2 * SIDE;
    let mut sheet = image::RgbImage::from_pixel(8 * side, 8 * side, image::Rgb([255; 3]));
    for index in 0..64 {
        let picture = Scene::generate(1, index).draw_at(side - 6);
        let (column, row) = (index as i64 % 8, index as i64 / 8);
        image::imageops::replace(&mut sheet, &picture, column * i64::from(side) + 3, row * i64::from(side) + 3);
    }
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("scenes.png");
    sheet.save(&path).expect("the target folder can be written");
    println!("{}", path.display());
}
