//! What a reproduction found, as JSON and as a page.

use std::path::Path;

use captionlab::Result;
use captionlab::align::AlignmentEvaluation;
use captionlab::caption::{CaptionEvaluation, RankedCaption};
use captionlab::data::{Dataset, Example, Layout, Split};
use captionlab::metrics::Report;
use captionlab::show::{self, Figure, Series};
use captionlab::train::{Curves, MANY_PICTURES};
use captionlab::vision::FeatureCache;
use serde_json::{Map, Value, json};

use super::page::{Card, Page, Row};
use super::settings::{Configuration, Difference, captioned, value};
use super::{SHOWN, sha256};

/// Captions of a folder without any that the page shows.
const MOST_CAPTIONED: usize = 60;

/// R@1, 5 and 10 from text to image and R@1 from image to text on Flickr30K's 1,000 test pictures, in percent; lessons 1 and 1 bis
/// state them too.
const PUBLISHED_RETRIEVAL: [[&str; 6]; 3] = [
    ["Karpathy & Fei-Fei", "15.2", "37.7", "50.5", "", "CVPR 2015, trained on Flickr30K"],
    ["VSE++", "39.6", "", "", "", "Faghri et al., BMVC 2018, trained on Flickr30K"],
    [
        "CLIP ViT-B/32, zero-shot",
        "59.4",
        "",
        "",
        "81.2",
        "OpenAI's weights (Radford et al., ICML 2021), never trained on it",
    ],
];

/// Scores in hundredths, as papers print them; lesson 4 states them too.
const PUBLISHED_SCORES: [[&str; 9]; 4] = [
    ["Karpathy & Fei-Fei", "Flickr30k", "57.3", "36.9", "24.0", "15.7", "", "", "CVPR 2015, table 2"],
    ["Karpathy & Fei-Fei", "COCO", "62.5", "45.0", "32.1", "23.0", "19.5", "66.0", "CVPR 2015, table 2"],
    [
        "Show, Attend and Tell (hard)",
        "Flickr30k",
        "66.9",
        "43.9",
        "29.6",
        "19.9",
        "18.5",
        "",
        "Xu et al., ICML 2015, table 1",
    ],
    ["a person", "COCO", "66.3", "46.9", "32.1", "21.7", "25.2", "85.4", "COCO captioning challenge 2015, c5"],
];

/// Pictures of others are shown, but may not be published.
const NOT_TO_BE_PASSED_ON: &str = "This page holds small copies of pictures of the data set. Pictures of data sets such as Flickr30k, \
    Flickr8k and COCO belong to those who took them, and are given for research alone: do not pass the page on, and do not publish it.";

/// What a reproduction found.
pub struct Found<'a> {
    pub dataset: &'a Dataset,
    /// The splits that were measured.
    pub splits: &'a [Split],
    pub configuration: Configuration,
    pub seed: u64,
    pub why_encoder: &'a str,
    pub encoders: Vec<EncoderUsed>,
    /// What the extractions took, by encoder.
    pub features: Value,
    pub trainings: Vec<Training<'a>>,
    pub scores_seconds: f64,
    pub captions: CaptionEvaluation,
    pub scores: Report,
    pub alignment: AlignmentEvaluation,
    /// The captions, the best first.
    pub ranked: Vec<RankedCaption>,
    pub alignments: Vec<Figure>,
    /// Pictures without features, and why.
    pub skipped: Vec<String>,
}

/// A training of a reproduction.
pub struct Training<'a> {
    pub stage: &'a str,
    /// What is learnt.
    pub what: &'a str,
    pub curves: Curves,
    pub seconds: f64,
    pub weights: Weights,
    /// Settings other than the preset's.
    pub differences: Vec<Difference>,
}

/// A file of weights.
pub struct Weights {
    /// With the folder that it is in: where that is says nothing about it.
    file: String,
    sha256: String,
}

impl Weights {
    pub fn of(file: &Path) -> Result<Self> {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = file.parent().map(name).unwrap_or_default();
        Ok(Self { file: format!("{folder}/{}", name(file)), sha256: sha256(file)? })
    }

    fn json(&self) -> Value {
        json!({ "file": self.file, "sha256": self.sha256 })
    }
}

/// An encoder, as its cache describes it.
pub struct EncoderUsed {
    name: String,
    dimension: usize,
    most_regions: usize,
    description: Value,
}

impl EncoderUsed {
    pub fn of(cache: &FeatureCache) -> Result<Self> {
        let description = cache.description()?;
        Ok(Self {
            name: description.name().to_string(),
            dimension: cache.width(),
            most_regions: cache.most_regions(),
            description: value(&description)?,
        })
    }

    /// The hashes of its weights, by name.
    fn hashes(&self) -> Vec<(&String, &str)> {
        let is_hash = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fields = self.description.as_object().into_iter().flatten();
        fields.filter_map(|(name, value)| Some((name, value.as_str().filter(is_hash)?))).collect()
    }

    fn json(&self) -> Value {
        let hashes: Map<String, Value> =
            self.hashes().into_iter().map(|(name, hash)| (name.clone(), json!(hash))).collect();
        json!({ "name": self.name, "dimension": self.dimension, "most_regions": self.most_regions, "weights_sha256": hashes })
    }
}

impl Found<'_> {
    /// The figures alone, which are the same however often the command is called.
    ///
    /// # Errors
    /// None that is known.
    pub fn figures(&self) -> Result<Value> {
        let mut captioner = value(&self.captions)?;
        for (name, score) in self.scores.corpus.named().into_iter().filter(|(name, _)| *name != "CIDEr-D") {
            captioner[name.to_lowercase().replace('-', "_")] = json!(score);
        }
        let mut alignment = value(&self.alignment)?;
        for figures in [&mut captioner, &mut alignment] {
            if let Some(figures) = figures.as_object_mut() {
                figures.remove("split");
                figures.insert("splits".to_string(), json!(self.splits));
            }
        }
        Ok(json!({ "captioner": captioner, "alignment": alignment }))
    }

    /// The figures and all that belongs to them.
    ///
    /// # Errors
    /// None that is known.
    pub fn json(&self, figures: &Value) -> Result<Value> {
        let Dataset { name, layout, examples, notes, .. } = self.dataset;
        let [train, validation, test] = self.sizes();
        let training = |training: &Training| {
            let settings: Map<String, Value> = training
                .differences
                .iter()
                .map(|Difference { setting, values: [preset, here] }| {
                    (setting.clone(), json!({ "preset": preset, "here": here }))
                })
                .collect();
            let Curves { validation_loss, metrics, training_loss } = &training.curves;
            json!({
                "stage": training.stage, "seconds": training.seconds, "steps": training_loss.len(),
                "weights": training.weights.json(), "settings_other_than_preset": settings,
                "validation_loss": validation_loss, "metrics": metrics,
            })
        };
        let captions: Vec<Value> = self
            .ranked
            .iter()
            .map(|one| json!({ "picture": one.example.name, "caption": one.caption, "cider_d": one.cider_d }))
            .collect();
        let mut all = figures.clone();
        if let (Some(all), Value::Object(more)) = (
            all.as_object_mut(),
            json!({
                "data": { "name": name, "layout": layout.to_string(), "pictures": examples.len(), "train": train,
                          "validation": validation, "test": test, "notes": notes },
                "measured_splits": self.splits,
                "configuration": value(&ConfigurationName(self.configuration))?,
                "compared_with_preset": self.configuration.preset(),
                "seed": self.seed,
                "encoders": self.encoders.iter().map(EncoderUsed::json).collect::<Vec<_>>(),
                "features": self.features,
                "trainings": self.trainings.iter().map(training).collect::<Vec<_>>(),
                "scores_seconds": self.scores_seconds,
                "skipped": self.skipped,
                "captions": captions,
                "versions": versions(),
            }),
        ) {
            all.extend(more);
        }
        Ok(all)
    }

    /// The page.
    ///
    /// # Errors
    /// Those of the figures.
    pub fn page(&self) -> Result<String> {
        let mut page = Page::new(&format!("{}: a captioner reproduced", self.dataset.name));
        page.paragraph(&format!(
            "A re-creation of Karpathy & Fei-Fei, Deep Visual-Semantic Alignments for Generating Image Descriptions (CVPR 2015): \
             features, alignment, {}captioner, scores; made by captionlab reproduce.",
            if self.trainings.iter().any(|training| training.stage == "snippets") { "two-stage " } else { "" }
        ));
        page.note(match self.dataset.layout {
            Layout::Scenes => "The pictures are drawn by captionlab: published figures are of photographs, and not to be compared with.",
            _ => NOT_TO_BE_PASSED_ON,
        });
        self.data(&mut page);
        self.captions(&mut page);
        self.retrieval(&mut page);
        self.curves(&mut page)?;
        page.heading("Which word is which region");
        page.paragraph(
            "The aligner gives each word of a person's caption the region that fits it best; nobody told it which.",
        );
        if self.alignments.is_empty() {
            page.paragraph("It knows no word of the captions.");
        }
        for figure in &self.alignments {
            page.figure(figure, "Each colour is a region; below each word stands how well it fits.");
        }
        self.best_and_worst(&mut page);
        self.how(&mut page);
        Ok(page.finish())
    }

    fn sizes(&self) -> [usize; 3] {
        [Split::Train, Split::Validation, Split::Test].map(|split| captioned(self.dataset, split))
    }

    fn data(&self, page: &mut Page) {
        let [train, validation, test] = self.sizes();
        page.heading("Data");
        page.paragraph(&format!(
            "{}: {} pictures with {} captions; {train} to learn from, {validation} for validation, {test} for tests. Layout: {}.",
            self.dataset.name,
            self.dataset.examples.len(),
            self.dataset.caption_count(),
            self.dataset.layout
        ));
        page.list(&self.dataset.notes);
        let measured = splits_text(self.splits);
        page.paragraph(&match self.splits {
            [Split::Test] => format!("All figures are of {measured}, which no training has seen."),
            [_, _] => format!(
                "All figures are of {measured} together, as there are few test pictures. Nothing was learnt from either: the weights are \
                 those of the last epoch, not of the one that validation pictures would choose."
            ),
            _ => format!("All figures are of {measured}, as there are no others. The weights are those of the last epoch."),
        });
        if train < MANY_PICTURES && self.dataset.layout != Layout::Scenes {
            page.note(&format!(
                "{train} pictures are few. The published figures come of 29,000 (Flickr30k) or 113,000 (COCO) training pictures. A \
                 captioner that has seen so little knows few words and hardly any rare things: it says of many pictures what is said \
                 of most, and takes one thing for another. Compare it with the baselines below, not with papers, and do not read much into \
                 small differences: so few measured pictures make every figure uncertain."
            ));
        }
        page.subheading("Encoder");
        for encoder in &self.encoders {
            page.paragraph(&format!(
                "{}: at most {} regions of a picture, the whole picture among them, and {} numbers for each. {}",
                encoder.name, encoder.most_regions, encoder.dimension, self.why_encoder
            ));
        }
        if !self.skipped.is_empty() {
            page.paragraph("Pictures without features, which are left out:");
            page.list(&self.skipped);
        }
    }

    fn captions(&self, page: &mut Page) {
        let found = &self.captions;
        page.heading("Captions");
        let score = |score: f64| format!("{score:.3}");
        let mut rows = vec![Row::own(["the captioner".to_string(), score(found.cider_d), "greedy".to_string()])];
        if let Some(nearest) = found.nearest_neighbour_cider_d {
            rows.push(Row::new([
                "nearest training picture".to_string(),
                score(nearest),
                "its first caption, copied; nearest by the features of whole pictures".to_string(),
            ]));
        }
        rows.push(Row::new([
            "always the same".to_string(),
            score(found.most_frequent_cider_d),
            "the most frequent training caption".to_string(),
        ]));
        if let Some(person) = found.person_cider_d {
            rows.push(Row::new([
                "a person".to_string(),
                score(person),
                "the first caption of each picture, against the others".to_string(),
            ]));
        }
        page.table("CIDEr-D on the measured pictures", &["who", "CIDEr-D", "how"], &rows);
        page.paragraph(&format!(
            "{:.0} % of its captions stand word by word among the training captions, and {:.0} % are said of one picture only. It \
             is worth something where it is above the nearest training picture, which looks but does not write.",
            100.0 * found.in_training,
            100.0 * found.distinct
        ));
        let corpus = &self.scores.corpus;
        let hundredths = |score: Option<f64>| score.map_or(String::new(), |score| format!("{:.1}", 100.0 * score));
        let own = [corpus.bleu_1, corpus.bleu_2, corpus.bleu_3, corpus.bleu_4, corpus.meteor, corpus.cider_d];
        let data = format!("{}, {} pictures", self.dataset.name, found.pictures);
        let cells = ["this captioner".to_string(), data].into_iter().chain(own.map(hundredths));
        let mut rows = vec![Row::own(cells.chain(["computed here".to_string()]))];
        rows.extend(PUBLISHED_SCORES.map(Row::new));
        page.table(
            "Captions beside published figures, in hundredths",
            &["who", "data", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "CIDEr-D", "from"],
            &rows,
        );
        page.paragraph(
            "These are scored as papers score, on the words of the Penn Treebank's rules, so that CIDEr-D differs a little from the \
             table above. Figures of different pictures cannot be compared closely.",
        );
        page.list(&self.scores.notes);
    }

    fn retrieval(&self, page: &mut Page) {
        let found = &self.alignment;
        page.heading("Alignment");
        let percent = |share: f64| format!("{:.1}", 100.0 * share);
        let chance = |most: f64| percent((most / found.pictures as f64).min(1.0));
        let searched = format!("among {} pictures of {}", found.pictures, self.dataset.name);
        let mut rows = vec![
            Row::own([
                "this aligner".to_string(),
                percent(found.recall_at_1_text_to_image),
                percent(found.recall_at_5_text_to_image),
                percent(found.recall_at_10_text_to_image),
                percent(found.recall_at_1_image_to_text),
                format!("computed here, {searched}"),
            ]),
            Row::new([
                "by chance".to_string(),
                chance(1.0),
                chance(5.0),
                chance(10.0),
                String::new(),
                format!("one of {} pictures", found.pictures),
            ]),
        ];
        rows.extend(PUBLISHED_RETRIEVAL.map(Row::new));
        page.table(
            "Search beside published figures, in percent: R@K is how often the right one is among the first K",
            &["who", "text → image R@1", "R@5", "R@10", "image → text R@1", "from"],
            &rows,
        );
        page.paragraph(&format!(
            "The published figures are of a search among 1,000 pictures of Flickr30K. Among {} it is {}, so compare with chance. The \
             median rank of a sentence's picture is {}, that of a picture's first sentence {}.",
            found.pictures,
            if found.pictures < 1000 { "easier" } else { "no easier" },
            found.median_rank_text_to_image,
            found.median_rank_image_to_text
        ));
        if let Some(grounding) = &found.grounding {
            page.paragraph(&format!("{grounding}."));
        }
    }

    fn curves(&self, page: &mut Page) -> Result<()> {
        page.heading("Learning curves");
        for Training { stage, what, curves, seconds, .. } in &self.trainings {
            page.subheading(&format!("{stage}: {what}"));
            let loss = show::learning_curves("", "loss", curves)?;
            let steps = curves.training_loss.len();
            page.figure(&loss, &format!("Loss over {steps} steps, in {}.", clock(*seconds)));
            let shown = ["cider_d", "recall_at_1_text_to_image"];
            for (name, points) in curves.metrics.iter().filter(|(name, _)| shown.contains(&name.as_str())) {
                let figure = show::curves("", "epochs", name, &[Series::new(name.as_str(), points.clone())])?;
                page.figure(&figure, &format!("{name} on validation pictures."));
            }
        }
        Ok(())
    }

    fn best_and_worst(&self, page: &mut Page) {
        fn card(one: &RankedCaption) -> Card<'_> {
            Card {
                example: &one.example,
                caption: &one.caption,
                remark: format!("CIDEr-D {:.2}; {}", one.cider_d, one.example.name),
            }
        }
        let half = SHOWN.min(self.ranked.len().div_ceil(2));
        page.heading("Best captions");
        page.paragraph("Those most like what people say, by CIDEr-D.");
        page.cards(&self.ranked.iter().take(half).map(card).collect::<Vec<_>>());
        page.heading("Worst captions");
        page.paragraph("Those least like it; some are true all the same.");
        let worst = SHOWN.min(self.ranked.len() - half);
        page.cards(&self.ranked.iter().rev().take(worst).map(card).collect::<Vec<_>>());
    }

    fn how(&self, page: &mut Page) {
        page.heading("How it was made");
        let mut rows: Vec<Row> = Vec::new();
        for encoder in &self.encoders {
            let seconds = self.features[&encoder.name]["seconds"].as_f64();
            let time = seconds.map_or("found, computed before".to_string(), clock);
            rows.push(Row::new([format!("features, {}", encoder.name), time]));
        }
        rows.extend(
            self.trainings.iter().map(|training| Row::new([training.stage.to_string(), clock(training.seconds)])),
        );
        rows.push(Row::new(["scores".to_string(), clock(self.scores_seconds)]));
        page.table("Time of each stage, in hours, minutes and seconds", &["stage", "time"], &rows);

        let configuration = value(&ConfigurationName(self.configuration)).unwrap_or_default();
        let name = configuration.as_str().unwrap_or_default().to_string();
        let mut rows =
            vec![Row::new(["configuration".to_string(), name]), Row::new(["seed".to_string(), self.seed.to_string()])];
        let versions = versions();
        rows.extend(
            versions
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, version)| Row::new([name.clone(), version.as_str().unwrap_or("not known").to_string()])),
        );
        page.table("Configuration, seed and versions", &["what", "value"], &rows);

        let mut rows: Vec<Row> = Vec::new();
        for encoder in &self.encoders {
            let row = |(part, hash): (&String, &str)| Row::new([format!("{}: {part}", encoder.name), hash.to_string()]);
            rows.extend(encoder.hashes().into_iter().map(row));
        }
        rows.extend(
            self.trainings
                .iter()
                .map(|training| Row::new([training.weights.file.clone(), training.weights.sha256.clone()])),
        );
        page.table("Weights", &["file", "SHA-256"], &rows);

        for training in &self.trainings {
            let text = |value: &Option<Value>| match value {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) => "none".to_string(),
                value => value.as_ref().map_or(String::new(), Value::to_string),
            };
            let row = |Difference { setting, values: [preset, here] }: &Difference| {
                Row::new([setting.clone(), text(here), text(preset)])
            };
            let rows: Vec<Row> = training.differences.iter().map(row).collect();
            if !rows.is_empty() {
                let caption =
                    format!("Settings of {} other than the preset {}", training.stage, self.configuration.preset());
                page.table(&caption, &["setting", "here", "preset"], &rows);
            }
        }
    }
}

/// The name of a configuration, as `--config` takes it.
struct ConfigurationName(Configuration);

impl serde::Serialize for ConfigurationName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let value = clap::ValueEnum::to_possible_value(&self.0);
        serializer.serialize_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// What there is to say of a folder without captions.
pub fn json_of_captions(figures: &Value, name: &str, weights: &Weights) -> Value {
    let mut all = figures.clone();
    all["data"] = json!({ "name": name });
    all["weights"] = weights.json();
    all["versions"] = versions();
    all
}

/// The page of a folder without captions.
///
/// # Errors
/// None that is known.
pub fn page_of_captions(
    name: &str,
    missing: &str,
    said: &[(&Example, &str)],
    unreadable: &[String],
    weights: &Weights,
) -> Result<String> {
    let mut page = Page::new(&format!("{name}: captions of the captioner that ships"));
    page.note(missing);
    page.note(NOT_TO_BE_PASSED_ON);
    page.heading("Captions");
    page.paragraph(&format!(
        "By {}, SHA-256 {}. The captioner that ships with the project has learnt from drawn scenes: of photographs it says what they \
         look like to one who knows nothing else.",
        weights.file,
        weights.sha256
    ));
    let cards: Vec<Card> = said
        .iter()
        .take(MOST_CAPTIONED)
        .map(|(example, caption)| Card { example, caption, remark: example.name.clone() })
        .collect();
    page.cards(&cards);
    if said.len() > MOST_CAPTIONED {
        let row = |(example, caption): &(&Example, &str)| Row::new([example.name.as_str(), *caption]);
        let rows: Vec<Row> = said.iter().skip(MOST_CAPTIONED).map(row).collect();
        page.table("The other pictures", &["picture", "caption"], &rows);
    }
    if !unreadable.is_empty() {
        page.heading("Pictures that cannot be read");
        page.list(unreadable);
    }
    Ok(page.finish())
}

/// `test pictures`, `test and validation pictures`.
pub fn splits_text(splits: &[Split]) -> String {
    let names: Vec<String> = splits.iter().map(ToString::to_string).collect();
    format!("{} pictures", names.join(" and "))
}

/// `1:05:09`, `2:07`, `0:09`.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

fn versions() -> Value {
    // The libtorch that the program was built with says its version in its folder.
    let libtorch = option_env!("LIBTORCH")
        .and_then(|folder| std::fs::read_to_string(Path::new(folder).join("version.py")).ok())
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("__version__ = ")).map(str::to_string))
        .map(|version| version.trim_matches(['\'', '"']).to_string());
    json!({ "captionlab": env!("CARGO_PKG_VERSION"), "libtorch": libtorch })
}
