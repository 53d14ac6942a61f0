//! Statistics on the difficulty of scenes.

use std::collections::BTreeSet;
use std::fmt;

use super::claims::{Claim, claims};
use super::{Scene, words};

/// Difficulty of a set of scenes. Shares are in `0.0..=1.0`, lengths in pixels of the 128×128 image.
#[derive(Debug, Clone, PartialEq)]
pub struct Difficulty {
    /// Number of scenes.
    pub scenes: usize,
    /// Shares of the scenes with one, two, three and four objects.
    pub things: [f64; 4],
    /// Share of the scenes in which an object hides 2 % or more of another.
    pub occlusion: f64,
    /// Share of the scenes with two or more objects of one kind.
    pub same_kind: f64,
    /// Share of the scenes with either.
    pub occlusion_or_same_kind: f64,
    /// Smallest visible share of an object.
    pub least_visible: f64,
    /// Shorter side of the visible boxes: minimum, first decile, median, ninth decile.
    pub shorter_side: [f64; 4],
    /// Median share of the image that a box covers.
    pub box_area: f64,
    /// Share of the scenes in which two boxes overlap.
    pub overlapping_boxes: f64,
    /// Mean number of words per caption.
    pub words_per_caption: f64,
    /// Number of distinct words.
    pub different_words: usize,
    /// Share of the captions that occur only once.
    pub unique_captions: f64,
    /// Share of the objects that a caption mentions.
    pub things_named: f64,
    /// Mean number of claims per caption.
    pub claims_per_caption: f64,
    /// Mean number of (kind, colour) claims per caption.
    pub coloured_per_caption: f64,
    /// Mean number of claims about relations per caption.
    pub relations_per_caption: f64,
}

impl Difficulty {
    /// Measures scenes; all values are 0 without scenes.
    pub fn measure(scenes: &[Scene]) -> Self {
        let share = |part: usize| if scenes.is_empty() { 0.0 } else { part as f64 / scenes.len() as f64 };
        let hidden = |scene: &Scene| scene.things.iter().any(|thing| thing.visible <= 0.98);
        let twins = |scene: &Scene| {
            let kinds: BTreeSet<_> = scene.things.iter().map(|thing| thing.kind).collect();
            kinds.len() < scene.things.len()
        };
        let crossing = |scene: &Scene| {
            scene.things.iter().enumerate().any(|(index, thing)| {
                scene.things[..index].iter().any(|other| {
                    let (a, b) = (thing.bounds, other.bounds);
                    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
                })
            })
        };
        let count = |test: &dyn Fn(&Scene) -> bool| share(scenes.iter().filter(|scene| test(scene)).count());

        let things: Vec<_> = scenes.iter().flat_map(|scene| &scene.things).collect();
        let sorted = |values: Vec<f64>| {
            let mut values = values;
            values.sort_by(f64::total_cmp);
            values
        };
        let sides = sorted(
            things
                .iter()
                .map(|thing| {
                    let bounds = thing.bounds;
                    f64::from((bounds.right - bounds.left).min(bounds.bottom - bounds.top))
                })
                .collect(),
        );
        let areas = sorted(
            things
                .iter()
                .map(|thing| {
                    let bounds = thing.bounds;
                    f64::from((bounds.right - bounds.left) * (bounds.bottom - bounds.top)) / (128.0 * 128.0)
                })
                .collect(),
        );
        let at = |values: &[f64], quantile: f64| {
            values.get((quantile * values.len().saturating_sub(1) as f64).round() as usize).copied().unwrap_or(0.0)
        };

        let captions: Vec<(&Scene, usize, &String)> = scenes
            .iter()
            .flat_map(|scene| scene.captions.iter().enumerate().map(move |(number, caption)| (scene, number, caption)))
            .collect();
        let per_caption = |total: usize| if captions.is_empty() { 0.0 } else { total as f64 / captions.len() as f64 };
        let mut texts: Vec<&str> = captions.iter().map(|(_, _, caption)| caption.as_str()).collect();
        texts.sort_unstable();
        let unique = texts.chunk_by(|a, b| a == b).filter(|same| same.len() == 1).count();
        let split: Vec<Vec<String>> = captions.iter().map(|(_, _, caption)| words(caption)).collect();
        let vocabulary: BTreeSet<&String> = split.iter().flatten().collect();
        let read: Vec<Vec<Claim>> = captions.iter().map(|(_, _, caption)| claims(caption)).collect();
        let claims_like =
            |test: &dyn Fn(&Claim) -> bool| per_caption(read.iter().flatten().filter(|c| test(c)).count());
        let (mut named, mut nameable) = (0usize, 0usize);
        for (scene, number, _) in &captions {
            let links = scene.links.iter().filter(|link| link.caption == *number);
            named += links.flat_map(|link| &link.regions).collect::<BTreeSet<_>>().len();
            nameable += scene.things.len();
        }

        let so_many = |number: usize| count(&|scene| scene.things.len() == number);
        Self {
            scenes: scenes.len(),
            things: [so_many(1), so_many(2), so_many(3), so_many(4)],
            occlusion: count(&hidden),
            same_kind: count(&twins),
            occlusion_or_same_kind: count(&|scene| hidden(scene) || twins(scene)),
            least_visible: things.iter().map(|thing| f64::from(thing.visible)).fold(1.0, f64::min),
            shorter_side: [0.0, 0.1, 0.5, 0.9].map(|quantile| at(&sides, quantile)),
            box_area: at(&areas, 0.5),
            overlapping_boxes: count(&crossing),
            words_per_caption: per_caption(split.iter().map(Vec::len).sum()),
            different_words: vocabulary.len(),
            unique_captions: per_caption(unique),
            things_named: if nameable == 0 { 0.0 } else { named as f64 / nameable as f64 },
            claims_per_caption: claims_like(&|_| true),
            coloured_per_caption: claims_like(&|claim| matches!(claim, Claim::Coloured(..))),
            relations_per_caption: claims_like(&|claim| matches!(claim, Claim::Related(..))),
        }
    }
}

impl fmt::Display for Difficulty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let [one, two, three, four] = self.things.map(percent);
        let [least, low, median, high] = self.shorter_side;
        let rows = [
            ("pictures", self.scenes.to_string()),
            ("with 1, 2, 3, 4 things", format!("{one}, {two}, {three}, {four}")),
            ("where something is partly hidden", percent(self.occlusion)),
            ("with two things or more of one kind", percent(self.same_kind)),
            ("one or the other", percent(self.occlusion_or_same_kind)),
            ("with boxes that overlap", percent(self.overlapping_boxes)),
            ("least visible share of a thing", percent(self.least_visible)),
            (
                "shorter side of a box: least, 10 %, median, 90 %",
                format!("{least:.0}, {low:.0}, {median:.0}, {high:.0} pixels"),
            ),
            ("median share of the picture in a box", percent(self.box_area)),
            ("words a caption", format!("{:.1}", self.words_per_caption)),
            ("different words", self.different_words.to_string()),
            ("captions that occur once", percent(self.unique_captions)),
            ("things that a caption speaks of", percent(self.things_named)),
            ("claims a caption", format!("{:.2}", self.claims_per_caption)),
            ("(kind, colour) claims a caption", format!("{:.2}", self.coloured_per_caption)),
            ("claims of relation a caption", format!("{:.2}", self.relations_per_caption)),
        ];
        for (name, value) in rows {
            writeln!(formatter, "{name:<50} {value}")?;
        }
        Ok(())
    }
}
