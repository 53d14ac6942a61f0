//! Scenes as Karpathy and COCO store photographs.

use serde::Serialize;

use super::super::{CAPTIONS, Kind, SIDE, VERSION};
use super::{COCO, file_name, index};
use crate::data::{Dataset, Example, Split, Vocabulary};
use crate::{Error, Result};

/// Most things of a scene, by which their boxes are numbered.
const THINGS: u64 = 4;

/// A file of all pictures, or of those of a split.
#[derive(Debug, Clone, Copy)]
pub(super) enum Table {
    Captions(Split),
    Instances(Split),
    Karpathy,
}

impl Table {
    /// All tables of a data set; splits without pictures have none.
    pub(super) fn all(dataset: &Dataset) -> Vec<Self> {
        let splits = [Split::Train, Split::Validation, Split::Test].into_iter();
        let splits = splits.filter(|split| dataset.split_size(*split) > 0);
        splits.flat_map(|split| [Self::Captions(split), Self::Instances(split)]).chain([Self::Karpathy]).collect()
    }

    /// Its name in the folder.
    pub(super) fn name(self) -> String {
        match self {
            Self::Captions(split) => format!("{COCO}/captions_{}.json", short(split)),
            Self::Instances(split) => format!("{COCO}/instances_{}.json", short(split)),
            Self::Karpathy => "dataset_scenes.json".into(),
        }
    }

    pub(super) fn bytes(self, dataset: &Dataset) -> Result<Vec<u8>> {
        let of = |split| dataset.examples.iter().filter(move |example| example.split == Some(split));
        match self {
            Self::Captions(split) => bytes(&captions(of(split))),
            Self::Instances(split) => bytes(&instances(of(split))),
            Self::Karpathy => bytes(&karpathy(dataset)),
        }
    }
}

fn bytes(table: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(table).map_err(|error| Error::internal(format!("a table is not written as JSON: {error}")))
}

/// The name of a split in files' names.
fn short(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "val",
        Split::Test => "test",
    }
}

#[derive(Serialize)]
struct Karpathy<'a> {
    dataset: &'static str,
    images: Vec<KarpathyImage<'a>>,
}

#[derive(Serialize)]
struct KarpathyImage<'a> {
    filename: String,
    imgid: usize,
    sentids: Vec<usize>,
    split: &'static str,
    sentences: Vec<Sentence<'a>>,
}

#[derive(Serialize)]
struct Sentence<'a> {
    raw: &'a str,
    tokens: Vec<String>,
    imgid: usize,
    sentid: usize,
}

fn karpathy(dataset: &Dataset) -> Karpathy<'_> {
    let images = dataset.examples.iter().enumerate().map(|(imgid, example)| {
        let sentences = example.captions.iter().zip(CAPTIONS * imgid..);
        let sentences: Vec<Sentence> =
            sentences.map(|(raw, sentid)| Sentence { raw, tokens: Vocabulary::words(raw), imgid, sentid }).collect();
        KarpathyImage {
            filename: file_name(example),
            imgid,
            sentids: sentences.iter().map(|sentence| sentence.sentid).collect(),
            split: short(example.split.unwrap_or(Split::Train)),
            sentences,
        }
    });
    Karpathy { dataset: "scenes", images: images.collect() }
}

#[derive(Serialize)]
struct Coco<A, C> {
    info: Info,
    licenses: [(); 0],
    images: Vec<CocoImage>,
    annotations: Vec<A>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    categories: Vec<C>,
}

#[derive(Serialize)]
struct Info {
    description: &'static str,
    version: String,
}

#[derive(Serialize)]
struct CocoImage {
    id: u64,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct Caption<'a> {
    id: u64,
    image_id: u64,
    caption: &'a str,
}

#[derive(Serialize)]
struct Instance {
    id: u64,
    image_id: u64,
    category_id: usize,
    /// Left, top, width, height.
    bbox: [f32; 4],
    area: f64,
    iscrowd: u8,
    segmentation: [(); 0],
}

#[derive(Serialize)]
struct Category {
    id: usize,
    name: &'static str,
    supercategory: &'static str,
}

/// The id of a picture: its index, from 1.
fn image_id(example: &Example) -> u64 {
    index(example) + 1
}

fn coco<'a, A, C>(
    examples: impl Iterator<Item = &'a Example> + Clone,
    annotations: impl Fn(&'a Example) -> Vec<A>,
    categories: Vec<C>,
) -> Coco<A, C> {
    let image = |example: &Example| CocoImage {
        id: image_id(example),
        file_name: file_name(example),
        width: SIDE,
        height: SIDE,
    };
    Coco {
        info: Info { description: "Scenes, drawn by captionlab", version: VERSION.to_string() },
        licenses: [],
        images: examples.clone().map(image).collect(),
        annotations: examples.flat_map(annotations).collect(),
        categories,
    }
}

fn captions<'a>(examples: impl Iterator<Item = &'a Example> + Clone) -> Coco<Caption<'a>, Category> {
    let annotations = |example: &'a Example| {
        let image_id = image_id(example);
        let captions = example.captions.iter().zip(CAPTIONS as u64 * (image_id - 1) + 1..);
        captions.map(|(caption, id)| Caption { id, image_id, caption }).collect()
    };
    coco(examples, annotations, Vec::new())
}

/// Ids begin at 1: pycocotools takes a match with the box 0 for none.
fn instances<'a>(examples: impl Iterator<Item = &'a Example> + Clone) -> Coco<Instance, Category> {
    let categories = (1..).zip(Kind::ALL).map(|(id, kind)| Category {
        id,
        name: kind.name(),
        supercategory: match kind {
            kind if kind.is_person() => "person",
            kind if kind.is_alive() => "animal",
            _ => "object",
        },
    });
    let annotations = |example: &Example| {
        let image_id = image_id(example);
        let regions = example.regions.iter().zip(THINGS * (image_id - 1) + 1..);
        let instance = regions.map(|(region, id)| {
            let bounds = region.bounds;
            Instance {
                id,
                image_id,
                category_id: Kind::ALL.iter().position(|kind| kind.name() == region.label).map_or(0, |place| place + 1),
                bbox: [bounds.left, bounds.top, bounds.right - bounds.left, bounds.bottom - bounds.top],
                area: bounds.area(),
                iscrowd: 0,
                segmentation: [],
            }
        });
        instance.collect()
    };
    coco(examples, annotations, categories.collect())
}
