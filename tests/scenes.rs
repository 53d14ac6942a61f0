//! What everything after relies on: Scenes is hard enough, true, and holds still.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use captionlab::data::scenes::{
    Backdrop, CAPTIONS, Claim, ClaimScore, Colour, Difficulty, Kind, Relation, SIDE, Scene, ScenesConfig, claims, words,
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
