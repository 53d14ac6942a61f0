//! What a reader of a lesson relies on when a cell shows a figure or a table.

use captionlab::Error;
use captionlab::data::{BoundingBox, Dataset, ImageSource, ScenesConfig};
use captionlab::show::{
    AlignedImage, AlignedWord, Animation, CaptionedImage, CurvesConfig, Figure, GridConfig, HeatMap, HighlightedWords,
    RetrievalRow, RetrievedImage, Series, Table, WordLink, alignments, bar_chart, captioned_examples, captioned_grid,
    curves, curves_with, grouped_bar_chart, heat_map, highlighted_words, histogram, retrieval, word_alignment,
};
use image::{Rgb, RgbImage};

/// The figure's pixels, after checking that its parts agree.
fn pixels(figure: &Figure) -> RgbImage {
    let decoded = image::load_from_memory(&figure.png).unwrap().to_rgb8();
    assert_eq!(decoded.dimensions(), (figure.width, figure.height));
    let reader = png::Decoder::new(std::io::Cursor::new(&figure.png)).read_info().unwrap();
    let description = reader.info().utf8_text.iter().find(|chunk| chunk.keyword == "Description").unwrap();
    assert_eq!(description.get_text().unwrap(), figure.alternative);
    assert!(!figure.alternative.contains('\n') && !figure.alternative.is_empty());
    decoded
}

/// Checks that nothing runs over the edge: the outermost pixels are white; and that something is there.
fn assert_whole(figure: &Figure) {
    let image = pixels(figure);
    let (width, height) = image.dimensions();
    let white = Rgb([255; 3]);
    for (x, y, pixel) in image.enumerate_pixels() {
        let is_edge = x < 2 || y < 2 || x + 2 >= width || y + 2 >= height;
        assert!(!is_edge || *pixel == white, "ink at the edge, at {x}, {y}: {}", figure.alternative);
    }
    assert!(image.pixels().any(|pixel| *pixel != white));
}

fn refused(result: captionlab::Result<Figure>, words: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Argument { .. } | Error::Config { .. } | Error::Figure { .. }), "{error:?}");
    assert!(error.to_string().contains(words), "{error} does not say {words:?}");
}

fn photograph(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7 + y) as u8, (x ^ y) as u8, (y * 3) as u8]))
}

fn line(values: &[f64]) -> Series {
    Series::numbered("loss", values)
}

#[test]
fn curves_draw_whatever_has_a_place() {
    let long = "a very long name ".repeat(40);
    let noise: Vec<f64> = (0..10_000).map(|i| f64::from(i * 7919 % 1009)).collect();
    let cases: Vec<(&str, Vec<Series>)> = vec![
        ("one point", vec![line(&[5.0])]),
        ("two equal points", vec![line(&[5.0, 5.0])]),
        ("all zero", vec![line(&[0.0; 50])]),
        ("ten thousand points", vec![line(&noise)]),
        ("huge", vec![line(&[-1e300, 1e300])]),
        ("tiny", vec![line(&[5e-324, 1e-323])]),
        ("close together", vec![line(&[1e15, 1e15 + 0.125])]),
        ("a hole", vec![line(&[1.0, f64::NAN, 2.0, f64::INFINITY, 3.0, 2.0])]),
        ("long names", vec![Series::new(long.clone(), vec![(0.0, 1.0)]), Series::new(long.clone(), vec![(1.0, 2.0)])]),
        ("no name", vec![Series::new("", vec![(0.0, 1.0)]), Series::new("", vec![(1.0, 2.0)])]),
        ("24 lines", (0..24).map(|i| Series::new(format!("run {i}"), vec![(0.0, f64::from(i)), (9.0, 1.0)])).collect()),
    ];
    for (name, series) in &cases {
        for (title, label) in [(*name, "step"), ("", ""), (&long, &long), ("日本語 👩‍👧 \u{202e}\0", "\t")] {
            assert_whole(&curves(title, label, label, series).unwrap());
        }
    }
}

#[test]
fn curves_without_anything_to_draw_say_why() {
    refused(curves("t", "x", "y", &[]), "without a series");
    refused(curves("t", "x", "y", &[line(&[])]), "\"loss\" has no points");
    refused(curves("t", "x", "y", &[line(&[1.0]), line(&[f64::NAN, f64::INFINITY])]), "finite number");
    refused(curves("t", "x", "y", &[line(&[1e308])]), "finite number");
    refused(curves_with("t", "x", "y", &[line(&[0.0, -1.0])], &CurvesConfig::LOG_Y), "logarithmic");
    refused(curves("t", "x", "y", &vec![line(&[1.0]); 25]), "cannot be told apart");
}

#[test]
fn points_without_a_place_on_a_logarithmic_axis_are_counted() {
    let zipf = Series::new("words", vec![(0.0, 9.0), (1.0, 9.0), (10.0, 3.0), (100.0, 0.0), (1000.0, 1.0)]);
    for config in [CurvesConfig::LOG_LOG, CurvesConfig::LOG_X, CurvesConfig::LOG_Y] {
        assert_whole(&curves_with("Zipf", "rank", "count", std::slice::from_ref(&zipf), &config).unwrap());
    }
    let figure = curves_with("Zipf", "rank", "count", &[zipf], &CurvesConfig::LOG_LOG).unwrap();
    assert_eq!(
        figure.alternative,
        "Line chart: Zipf. count against rank, both axes logarithmic. words: from 9 at 1 to 1 at 1,000. \
         Left out: 2 points, not a finite number above 0, as a logarithmic axis needs."
    );
}

#[test]
fn the_words_for_a_curve_say_where_it_goes() {
    let loss = Series::new("training loss", vec![(0.0, 5.1), (300.0, 0.9), (600.0, 1.2)]);
    let figure = curves("What happened?", "step", "loss", &[loss]).unwrap();
    assert_eq!(
        figure.alternative,
        "Line chart: What happened? loss against step. \
         training loss: from 5.1 at 0 to 1.2 at 600, lowest 0.9 at 300."
    );
}

#[test]
fn a_histogram_counts_every_value_once() {
    let figure = histogram("Lengths", "words", &[3.0, 4.0, 4.0, 9.0], 20).unwrap();
    assert_eq!(
        figure.alternative,
        "Histogram: Lengths. words: 4 values from 3 to 9, median 4, mean 5. The fullest of 7 bins holds 2 values at 4."
    );
    let cases: &[&[f64]] = &[
        &[1.0],
        &[0.5; 9],
        &[-1e300, 1e300],
        &[5e-324, 0.0],
        &[1e15, 1e15 + 0.125],
        &[0.1, f64::NAN, 0.9],
        &[-3.0, 7.5],
    ];
    for values in cases {
        for bins in [1, 2, 7, 50, 500] {
            assert_whole(&histogram("Values", "value", values, bins).unwrap());
        }
    }
    let missing = histogram("t", "x", &[1.0, f64::NAN, 2.0], 5).unwrap();
    assert!(missing.alternative.contains("Left out: 1 value"), "{}", missing.alternative);
}

#[test]
fn a_histogram_of_nothing_says_why() {
    refused(histogram("t", "x", &[], 10), "no values");
    refused(histogram("t", "x", &[f64::NAN, f64::INFINITY], 10), "finite");
    refused(histogram("t", "x", &[1.0], 0), "0 bins");
    refused(histogram("t", "x", &[1.0], 501), "501 bins");
}

#[test]
fn bars_hold_any_finite_value() {
    let named = |values: &[f64]| -> Vec<(String, f64)> {
        values.iter().enumerate().map(|(i, &value)| ("word ".repeat(i * i + 1), value)).collect()
    };
    let cases: &[&[f64]] = &[
        &[1.0],
        &[0.0],
        &[0.0, 0.0],
        &[3.0, -2.0, 0.0],
        &[-1.0, -2.0],
        &[1e300, -1e300],
        &[5e-324],
        &[265_509.0, 81_632.0, 61_369.0, 44_547.0, 12.0],
    ];
    for values in cases {
        assert_whole(&bar_chart("Words", &named(values)).unwrap());
        assert_whole(&bar_chart("", &named(values)).unwrap());
    }
    let figure = bar_chart("Words", &[("dog".into(), 1200.0), ("boat".into(), 45.0)]).unwrap();
    assert_eq!(figure.alternative, "Bar chart: Words. dog 1,200; boat 45.");
    let scores = [("BLEU-4".to_owned(), vec![0.18, 0.195])];
    let figure = grouped_bar_chart("Scores", &["greedy", "beam"], &scores).unwrap();
    assert_whole(&figure);
    assert_eq!(figure.alternative, "Bar chart: Scores. BLEU-4: greedy 0.18, beam 0.195.");
}

#[test]
fn bars_that_cannot_be_drawn_are_named() {
    refused(bar_chart("t", &[]), "no bars");
    refused(bar_chart("t", &[("dog".into(), f64::NAN)]), "\"dog\" would be not a number long");
    refused(bar_chart("t", &[("dog".into(), 1e308)]), "\"dog\" would be 1×10³⁰⁸ long");
    refused(grouped_bar_chart("t", &[], &[("dog".into(), vec![])]), "0 groups");
    refused(grouped_bar_chart("t", &["a", "b"], &[("dog".into(), vec![1.0])]), "\"dog\" has 1 values for 2 groups");
    refused(bar_chart("t", &vec![("dog".into(), 1.0); 100_000]), "pixels");
}

#[test]
fn a_grid_holds_pictures_and_captions_of_any_size() {
    let long = "a dog runs through the grass ".repeat(500);
    let images = [
        CaptionedImage::new(photograph(500, 375), ["A dog."]),
        CaptionedImage::new(photograph(1, 1), ["", " "]),
        CaptionedImage::new(photograph(3, 2000), [long.as_str(), &"x".repeat(5000)]).with_title(long.as_str()),
        CaptionedImage::new(photograph(2000, 3), ["日本語の字幕", "👩‍👩‍👧", "e\u{301}", "\0\u{7}\n\t"]),
        CaptionedImage::new(photograph(128, 128), Vec::<String>::new()).with_title("scene-000017"),
    ];
    for (columns, image_width) in [(1, 64), (2, 128), (3, 280), (12, 300)] {
        let config = GridConfig { columns, image_width, title: Some("Pictures".into()), ..GridConfig::default() };
        assert_whole(&captioned_grid(&images, &config).unwrap());
    }
}

#[test]
fn the_words_for_a_grid_are_its_captions() {
    let images = [
        CaptionedImage::new(photograph(8, 8), ["A dog.", "Dogs\nrun."]).with_title("one.jpg"),
        CaptionedImage::new(photograph(8, 8), [""]),
    ];
    let figure = captioned_grid(&images, &GridConfig::default()).unwrap();
    assert_eq!(
        figure.alternative,
        "Grid of 2 pictures. Picture 1 (one.jpg): \"A dog.\", \"Dogs run.\" Picture 2: no caption."
    );
}

#[test]
fn grids_that_cannot_be_drawn_say_why() {
    let one = CaptionedImage::new(photograph(8, 8), ["a"]);
    refused(captioned_grid(&[], &GridConfig::default()), "no pictures");
    let empty = CaptionedImage::new(RgbImage::new(0, 5), ["a"]);
    refused(captioned_grid(&[one.clone(), empty], &GridConfig::default()), "picture 2 of the grid has no pixels");
    refused(captioned_grid(&vec![one.clone(); 1000], &GridConfig { columns: 1, ..GridConfig::default() }), "pixels");
    let settings = [
        (GridConfig { columns: 0, ..GridConfig::default() }, "grid.columns = 0"),
        (GridConfig { image_width: 10, ..GridConfig::default() }, "grid.image_width = 10"),
        (GridConfig { caption_lines: 0, ..GridConfig::default() }, "grid.caption_lines = 0"),
    ];
    for (config, words) in settings {
        refused(captioned_grid(std::slice::from_ref(&one), &config), words);
    }
}

#[test]
fn a_figure_is_saved_whole() {
    let folder = tempfile::tempdir().unwrap();
    let figure = Figure::from_image(&photograph(40, 30), "a pattern\nof colours").unwrap();
    assert_eq!(figure.alternative, "a pattern of colours");
    let path = folder.path().join("figure.png");
    figure.save(&path).unwrap();
    figure.save(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), figure.png);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let error = figure.save(folder.path().join("missing/figure.png")).unwrap_err();
    assert!(matches!(&error, Error::File { .. }) && error.to_string().contains("missing"), "{error}");
    assert!(Figure::from_image(&RgbImage::new(0, 0), "nothing").is_err());
}

#[test]
fn the_same_figure_has_the_same_bytes() {
    let draw = || captioned_grid(&[CaptionedImage::new(photograph(500, 375), ["A dog."])], &GridConfig::default());
    assert_eq!(draw().unwrap(), draw().unwrap());
}

#[test]
fn figures_stay_small_enough_for_a_notebook() {
    let noise: Vec<f64> = (0..10_000).map(|i| f64::from(i * 7919 % 1009)).collect();
    let chart = curves("Noise", "step", "value", &[line(&noise)]).unwrap();
    assert!(chart.png.len() < 150_000, "{} bytes", chart.png.len());
    let Ok(files) = std::fs::read_dir("../shared/flickr30k-sample/flickr30k-images") else {
        println!("skipped: ../shared/flickr30k-sample is not here");
        return;
    };
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let open = |path| CaptionedImage::new(image::open(path).unwrap().to_rgb8(), ["A caption of some words."]);
    let images: Vec<CaptionedImage> = paths.iter().take(12).map(open).collect();
    let grid = captioned_grid(&images, &GridConfig::default()).unwrap();
    assert_whole(&grid);
    assert!(grid.png.len() < 500_000, "{} bytes", grid.png.len());
}

#[test]
fn a_table_is_safe_html_and_aligned_text() {
    let mut table = Table::new("Scores <of> \"two\" models", ["model", "CIDEr-D"]);
    table.push(["greedy & plain", "0.61"]);
    table.push(["<script>alert('$x$')</script>", "10.5"]);
    table.rows.push(vec!["short row".into()]);
    let html = table.html();
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;alert(&#39;&#36;x&#36;&#39;)"), "{html}");
    assert!(html.contains("Scores &lt;of&gt; &quot;two&quot; models") && html.contains("greedy &amp; plain"), "{html}");
    assert!(html.contains("<td style=\"text-align: right; padding: 4px 12px\">10.5</td>"), "{html}");
    assert_eq!(
        table.to_string(),
        "Scores <of> \"two\" models\n\
         model                          CIDEr-D\n\
         -----------------------------  -------\n\
         greedy & plain                    0.61\n\
         <script>alert('$x$')</script>     10.5\n\
         short row\n"
    );
}

#[test]
fn only_columns_of_numbers_align_to_the_right() {
    let cases = [
        (vec!["1", "−2.5", "3,000", "75 %", "—", "1e-4"], true),
        (vec!["1", "two"], false),
        (vec!["", ""], false),
        (vec!["1", ""], true),
    ];
    for (cells, right) in cases {
        let mut table = Table::new("", ["x"]);
        cells.iter().for_each(|cell| table.push([*cell]));
        assert_eq!(table.html().contains("text-align: right"), right, "{cells:?}");
    }
}

#[test]
fn nothing_in_a_table_ends_the_output_early() {
    let mut table = Table::new("EVCXR_END_CONTENT\nEVCXR_END_CONTENT", ["a\nEVCXR_END_CONTENT\nb"]);
    table.push(["x\nEVCXR_END_CONTENT\ny"]);
    for text in [table.html(), table.to_string()] {
        assert!(text.lines().all(|line| line != "EVCXR_END_CONTENT"), "{text}");
    }
    assert_eq!(Table::default().to_string(), "\n\n");
}

#[test]
fn words_are_highlighted_and_aligned() {
    let words = ["a", "red", "kite", "flies"];
    let rows = [
        HighlightedWords::new("words: 2 of 4", &words, |place| place % 2 == 0),
        HighlightedWords::new("pairs: none of 3", &words, |_| false),
    ];
    let figure = highlighted_words("What counts", &rows).unwrap();
    assert_whole(&figure);
    assert!(figure.alternative.contains("words: 2 of 4: \"a red kite flies\", of which count: a, kite."));
    assert!(figure.alternative.contains("pairs: none of 3: \"a red kite flies\", of which count: none."));

    let link = |upper: std::ops::Range<usize>, lower: std::ops::Range<usize>, kind: &str| WordLink {
        upper,
        lower,
        kind: kind.to_string(),
    };
    let lower = ["the", "crimson", "kite", "is", "flying"];
    let links = [link(2..3, 2..3, "the same word"), link(3..4, 3..5, "paraphrase")];
    let figure = word_alignment("Which stands for which", &words, &lower, &links).unwrap();
    assert_whole(&figure);
    assert!(figure.alternative.contains("\"flies\" – \"is flying\" (paraphrase)."), "{}", figure.alternative);

    let long = vec!["word"; 200];
    refused(word_alignment("t", &long, &words, &[]), "too long for a line");
    refused(highlighted_words("t", &[HighlightedWords::new("all", &long, |_| true)]), "too long for a line");
    refused(highlighted_words("t", &[]), "no caption");
    refused(word_alignment("t", &words, &lower, &[link(3..5, 0..1, "x")]), "4 words");
    refused(word_alignment("t", &words, &lower, &[link(1..1, 0..1, "x")]), "link one at least");
    assert_whole(&word_alignment::<&str>("nothing", &[], &[], &[]).unwrap());
}

#[test]
fn bars_show_between_which_values_points_lie() {
    let loss = line(&[2.0, 1.0]).with_intervals(vec![(1.5, 2.5), (0.5, 4.0)]);
    let figure = curves("Scores", "x", "y", std::slice::from_ref(&loss)).unwrap();
    assert_whole(&figure);
    assert!(
        figure.alternative.contains("between 1.5 and 2.5 at first, between 0.5 and 4 at last"),
        "{}",
        figure.alternative
    );
    let plain = curves("Scores", "x", "y", &[line(&[2.0, 1.0])]).unwrap();
    assert_ne!(pixels(&plain), pixels(&figure));
    refused(curves("t", "x", "y", &[line(&[1.0]).with_intervals(vec![(0.0, 1.0); 2])]), "1 points and 2 intervals");
}

#[test]
fn an_animation_holds_all_its_figures() {
    use image::AnimationDecoder;
    let frame = |values: &[f64]| curves("Scores", "x", "y", &[line(values)]).unwrap();
    let frames = [frame(&[1.0, 2.0]), frame(&[1.0, 3.0]), frame(&[1.0, 4.0])];
    let animation = Animation::new(&frames, 0.5, "three lines\none after the other").unwrap();
    assert_eq!(animation.alternative, "three lines one after the other");
    let decoder = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(&animation.gif)).unwrap();
    let decoded = decoder.into_frames().collect_frames().unwrap();
    let milliseconds: Vec<u32> = decoded.iter().map(|frame| frame.delay().numer_denom_ms().0).collect();
    assert_eq!(milliseconds, [500, 500, 1500]);
    assert_eq!(decoded[0].buffer().dimensions(), (frames[0].width, frames[0].height));
    let small = Figure::from_image(&RgbImage::new(4, 4), "small").unwrap();
    for (result, words) in [
        (Animation::new(&[], 0.5, "none"), "without figures"),
        (Animation::new(&[frames[0].clone(), small], 0.5, "two"), "4×4"),
        (Animation::new(&frames, 0.0, "three"), "0 s a figure"),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn examples_are_shown_with_their_captions_and_those_that_cannot_be_read_as_grey_fields() {
    let mut examples = Dataset::scenes(&ScenesConfig { train: 3, validation: 0, test: 0, seed: 1 }).unwrap().examples;
    let (name, caption) = (examples[1].name.clone(), examples[0].captions[0].clone());
    let one = captioned_examples(&examples[..1], 1).unwrap();
    assert_eq!(one.alternative, format!("A picture: \"{caption}\""));
    examples[1].image = ImageSource::File("nowhere.jpg".into());
    let figure = captioned_examples(&examples, 1).unwrap();
    assert_whole(&figure);
    assert!(figure.alternative.contains(&format!("Picture 2 ({name}: cannot be read)")), "{}", figure.alternative);
    let grey = |figure: &Figure| pixels(figure).pixels().filter(|pixel| pixel.0 == [200; 3]).count();
    assert!(grey(&figure) > 10_000 && grey(&one) < 10_000, "{} and {}", grey(&figure), grey(&one));
}

/// An image with a sentence of so many words, the third of each three without a region.
fn aligned(image: RgbImage, count: usize) -> AlignedImage {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let share = |left: f32, top: f32, right: f32, bottom: f32| BoundingBox {
        left: left * width,
        top: top * height,
        right: right * width,
        bottom: bottom * height,
    };
    // The whole image twice, boxes that overlap, that touch the edge, and that go beyond it.
    let boxes = vec![
        share(0.0, 0.0, 1.0, 1.0),
        share(0.0, 0.0, 1.0, 1.0),
        share(0.2, 0.2, 0.6, 0.6),
        share(0.3, 0.3, 0.7, 0.7),
        share(0.0, 0.5, 0.2, 1.0),
        share(-0.5, 0.9, 1.5, 2.0),
    ];
    let word = |i: usize| {
        let region = (i % 3 != 2).then_some(i / 3 % boxes.len());
        AlignedWord::new("word".repeat(1 + i % 4), region, i as f32 * 0.07)
    };
    let words = (0..count).map(word).collect();
    AlignedImage { image, boxes, words, note: count.is_multiple_of(2).then(|| "score 4.2".to_string()) }
}

#[test]
fn alignments_hold_images_and_sentences_of_any_size() {
    let sizes = [(128, 128), (500, 333), (1, 1), (3, 2000), (2000, 3), (64, 65)];
    let images: Vec<AlignedImage> =
        (1..).zip(sizes).map(|(number, (width, height))| aligned(photograph(width, height), number * 4)).collect();
    for columns in [1, 2, 3, 12] {
        assert_whole(&alignments("Words and regions", &images, columns).unwrap());
    }
    for count in [1, 2, 20, 100] {
        assert_whole(&alignments("", &[aligned(photograph(128, 128), count)], 1).unwrap());
    }
    let mut odd = aligned(photograph(64, 64), 6);
    odd.words[0].word = "x".repeat(500);
    odd.words[1].word = String::new();
    odd.words[2].word = "日本語 👩‍👩‍👧\n\0".to_string();
    odd.words[3].score = -3e38;
    odd.note = Some("a note ".repeat(100));
    assert_whole(&alignments(&"title ".repeat(100), &[odd], 1).unwrap());
    let draw = || alignments("", &[aligned(photograph(128, 128), 12)], 1).unwrap();
    assert_eq!(draw(), draw());
}

#[test]
fn the_words_for_an_alignment_are_its_sentence_and_regions() {
    let mut one = aligned(photograph(100, 100), 7);
    one.boxes.swap(0, 2);
    let none = AlignedImage {
        words: vec![AlignedWord::new("a", None, 0.0), AlignedWord::new("dog", None, 0.0)],
        note: Some("nothing found".to_string()),
        ..one.clone()
    };
    let figure = alignments("Who is who", &[one, none], 2).unwrap();
    assert_eq!(
        figure.alternative,
        "Words and regions: Who is who. \
         Picture 1: \"word wordword wordwordword wordwordwordword word wordword wordwordword\". \
         Region 1: word 0.00, wordword 0.07. Region 2, the whole picture: wordwordwordword 0.21, word 0.28. \
         Region 3, the whole picture: wordwordword 0.42. No region: wordwordword, wordword. \
         Picture 2: \"a dog\". No region: a, dog. Note: nothing found."
    );
}

#[test]
fn alignments_that_cannot_be_drawn_say_why() {
    let one = aligned(photograph(8, 8), 6);
    let with = |change: fn(&mut AlignedImage)| {
        let mut changed = one.clone();
        change(&mut changed);
        alignments("t", &[one.clone(), changed], 2)
    };
    refused(alignments("t", &[], 1), "no pictures");
    refused(with(|image| image.image = RgbImage::new(0, 5)), "no pixels");
    refused(with(|image| image.words.clear()), "the sentence of picture 2 has no words");
    refused(with(|image| image.words[1].region = Some(6)), "\"wordword\" in picture 2 is aligned with region 6, of 6");
    refused(with(|image| image.words[0].score = f32::NAN), "the score of \"word\" in picture 2 is NaN");
    refused(with(|image| image.words[2].score = f32::INFINITY), "in picture 2 is inf");
    refused(with(|image| image.boxes[0].right = f32::NAN), "has no area");
    refused(alignments("t", std::slice::from_ref(&one), 0), "grid.columns = 0");
    refused(alignments("t", std::slice::from_ref(&one), 13), "grid.columns = 13");
    refused(alignments("t", &vec![one.clone(); 1000], 1), "pixels");
    // What no word is aligned with is not drawn, so it may be anything.
    let mut unused = one;
    unused.boxes.push(BoundingBox { left: f32::NAN, top: 0.0, right: 0.0, bottom: 0.0 });
    assert_whole(&alignments("t", &[unused], 1).unwrap());
}

fn numbered(name: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{name} {number}")).collect()
}

/// A heat map with the best column of each row marked.
fn matrix(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) -> HeatMap {
    let values: Vec<Vec<f32>> = (0..rows).map(|row| (0..columns).map(|column| value(row, column)).collect()).collect();
    let best = |values: &Vec<f32>| (0..columns).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap();
    let marked = values.iter().map(best).enumerate().collect();
    HeatMap { rows: numbered("word", rows), columns: numbered("region", columns), values, marked }
}

#[test]
fn heat_maps_hold_any_finite_values() {
    for (rows, columns) in [(1, 1), (1, 20), (12, 20), (20, 1), (100, 100), (3, 300)] {
        let maps = [
            matrix(rows, columns, |row, column| (row as f32 * 1.3 + column as f32 * 0.7).sin()),
            matrix(rows, columns, |_, _| 0.0),
            matrix(rows, columns, |row, column| [f32::MAX, f32::MIN][(row + column) % 2]),
            matrix(rows, columns, |row, column| (row * columns + column) as f32 * 1e-30),
        ];
        for map in maps {
            assert_whole(&heat_map("Words and regions", &map).unwrap());
        }
    }
    let mut odd = matrix(3, 4, |row, column| (row * column) as f32);
    odd.rows = vec!["a long label ".repeat(30), String::new(), "日本語 👩‍👧 \0".into()];
    odd.columns = vec!["x".repeat(300), " ".into(), "\n".into(), "dog 98 %".into()];
    assert_whole(&heat_map(&"title ".repeat(100), &odd).unwrap());
    assert_eq!(heat_map("", &odd).unwrap(), heat_map("", &odd).unwrap());
}

#[test]
fn a_heat_map_is_coloured_by_value_and_marked_by_frames() {
    let map = matrix(2, 2, |row, column| (row * 2 + column) as f32);
    let figure = heat_map("t", &map).unwrap();
    let has = |figure: &Figure, colour: [u8; 3]| pixels(figure).pixels().filter(|pixel| pixel.0 == colour).count();
    // The ends of viridis.
    assert!(has(&figure, [68, 1, 84]) > 1000 && has(&figure, [253, 231, 37]) > 1000);
    let unmarked = heat_map("t", &HeatMap { marked: Vec::new(), ..map }).unwrap();
    assert_ne!(pixels(&figure), pixels(&unmarked));
}

#[test]
fn the_words_for_a_heat_map_say_where_each_row_is_highest() {
    let mut map = matrix(30, 3, |row, column| [0.25, -0.5, 0.25][(row + column) % 3]);
    map.marked = vec![(0, 2), (1, 1), (2, 0), (2, 1)];
    let text = heat_map("Scores", &map).unwrap().alternative;
    let start = "Heat map: Scores. 30 rows and 3 columns, values from −0.50 to 0.25. \
                 word 1: highest in region 1 (0.25), marked region 3 (0.25). word 2: highest in region 2 (0.25). \
                 word 3: highest in region 1 (0.25), marked region 1 (0.25), region 2 (0.25). word 4:";
    assert!(text.starts_with(start) && text.ends_with(" And 6 more rows."), "{text}");
}

#[test]
fn heat_maps_that_cannot_be_drawn_say_why() {
    let map = matrix(2, 3, |row, column| (row + column) as f32);
    let with = |change: fn(&mut HeatMap)| {
        let mut changed = map.clone();
        change(&mut changed);
        heat_map("t", &changed)
    };
    refused(heat_map("t", &HeatMap::default()), "no values");
    refused(heat_map("t", &matrix(0, 3, |_, _| 0.0)), "no values");
    refused(with(|map| map.columns.clear()), "no values");
    refused(with(|map| map.rows.truncate(1)), "2 rows has 1 row labels");
    refused(with(|map| map.values[1].truncate(2)), "row \"word 2\" of the heat map has 2 values for 3 columns");
    refused(
        with(|map| map.values[1][2] = f32::NAN),
        "row \"word 2\", column \"region 3\" of the heat map is not a number",
    );
    refused(with(|map| map.values[0][0] = f32::NEG_INFINITY), "is −∞");
    refused(with(|map| map.marked.push((2, 0))), "the marked cell (2, 0) is outside a heat map of 2×3 values");
    refused(heat_map("t", &matrix(1, 301, |_, _| 0.0)), "301 columns");
    refused(heat_map("t", &matrix(1000, 1, |_, _| 0.0)), "pixels");
}

/// A query of so many results, of which one or none is right.
fn found(query: &str, results: usize, right: Option<usize>, rank: Option<usize>) -> RetrievalRow {
    let sizes = [(128, 128), (500, 333), (100, 300), (1, 1), (3, 2000)];
    let result = |number: usize| RetrievedImage {
        image: photograph(sizes[number % sizes.len()].0, sizes[number % sizes.len()].1),
        score: 0.9 - 0.1 * number as f32,
        correct: right == Some(number),
    };
    RetrievalRow { query: query.into(), results: (0..results).map(result).collect(), rank }
}

#[test]
fn retrieval_holds_queries_and_images_of_any_size() {
    let long = "a dog runs through the grass ".repeat(50);
    let rows = [
        found("a dog runs", 5, Some(0), Some(1)),
        found(&long, 5, None, Some(12)),
        found("", 1, None, None),
        found("日本語 👩‍👧 \0\n", 10, Some(9), None),
        found(&"x".repeat(300), 3, None, Some(usize::MAX)),
    ];
    assert_whole(&retrieval("From text to image", &rows).unwrap());
    for row in rows {
        assert_whole(&retrieval("", &[row]).unwrap());
    }
    let draw = || retrieval("t", &[found("a dog", 5, Some(2), Some(3))]).unwrap();
    assert_eq!(draw(), draw());
    let without = retrieval("t", &[found("a dog", 5, None, None)]).unwrap();
    assert_ne!(pixels(&draw()), pixels(&without));
}

#[test]
fn the_words_for_retrieval_say_which_result_is_right() {
    let rows = [
        found("a dog", 3, Some(1), Some(2)),
        found("a boat", 2, None, Some(1200)),
        found("a kite", 1, None, None),
        // Ranks with ties may be worse than the place.
        found("a tree", 1, Some(0), Some(4)),
    ];
    assert_eq!(
        retrieval("Top 3", &rows).unwrap().alternative,
        "Retrieval: Top 3. \"a dog\": 0.90, 0.80 (right), 0.70. \
         \"a boat\": 0.90, 0.80; the right one has rank 1,200. \"a kite\": 0.90. \"a tree\": 0.90 (right)."
    );
}

#[test]
fn retrieval_that_cannot_be_drawn_says_why() {
    let with = |change: fn(&mut RetrievalRow)| {
        let mut row = found("a dog", 2, None, Some(5));
        change(&mut row);
        retrieval("t", &[row])
    };
    refused(retrieval("t", &[]), "no query");
    refused(with(|row| row.results.clear()), "\"a dog\" has 0 results");
    refused(retrieval("t", &[found("a dog", 11, None, None)]), "\"a dog\" has 11 results");
    refused(with(|row| row.results[1].image = RgbImage::new(3, 0)), "result 2 of the query \"a dog\" has no pixels");
    refused(with(|row| row.results[0].score = f32::NAN), "the score of result 1 of the query \"a dog\" is NaN");
    refused(with(|row| row.rank = Some(0)), "rank 0");
    refused(retrieval("t", &vec![found("a dog", 1, None, None); 200]), "pixels");
}
