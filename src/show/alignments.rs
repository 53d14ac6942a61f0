//! Images with the words of a sentence and the regions with which they are aligned.

use std::borrow::Cow;

use image::RgbImage;

use super::axis::score_text;
use super::boxes::{Tagged, draw_tagged};
use super::canvas::{Align, Canvas};
use super::chart::WIDTH;
use super::figure::{Figure, headed, one_paragraph};
use super::grid::{Below, Cell, GAP, GridConfig, MOST_DESCRIBED, draw_grid};
use super::style::{Ink, MARGIN, Mark};
use super::text::{TextStyle, Typeface};
use crate::data::BoundingBox;
use crate::{Error, Result};

/// Smallest and largest width of an image in pixels.
const IMAGE_WIDTHS: (f32, f32) = (240.0, 600.0);

/// Thickness of outlines, at which dash patterns are told apart.
const OUTLINE: f32 = 4.0;

/// Lines after which a note is truncated.
const NOTE_LINES: usize = 4;

/// An image with a sentence whose words are aligned with its regions.
#[derive(Debug, Clone, PartialEq)]
pub struct AlignedImage {
    /// The image, of any size and aspect ratio.
    pub image: RgbImage,
    /// Boxes of the regions in pixels, which may overlap. The box of the whole image is one like the others.
    pub boxes: Vec<BoundingBox>,
    /// The words of the sentence in their order, at least one.
    pub words: Vec<AlignedWord>,
    /// A remark below the sentence.
    pub note: Option<String>,
}

/// A word of a sentence, and the region with which it is aligned.
#[derive(Debug, Clone, PartialEq)]
pub struct AlignedWord {
    /// The word.
    pub word: String,
    /// Index into [`AlignedImage::boxes`]; `None` for a word without a region.
    pub region: Option<usize>,
    /// Score of the word with its region, a finite number. Not shown for a word without a region.
    pub score: f32,
}

impl AlignedWord {
    /// A word that is aligned with a region, or with none.
    ///
    /// ```
    /// use captionlab::show::AlignedWord;
    /// assert_eq!(AlignedWord::new("kite", 2, 0.81).region, Some(2));
    /// assert_eq!(AlignedWord::new("over", None, 0.0).region, None);
    /// ```
    pub fn new(word: impl Into<String>, region: impl Into<Option<usize>>, score: f32) -> Self {
        Self { word: word.into(), region: region.into(), score }
    }
}

/// Draws images, each with the boxes of the regions that words are aligned with, and the sentence below: as figure 5 of Karpathy and
/// Fei-Fei (2015).
///
/// Regions are numbered in the order in which the sentence mentions them; number, colour and dash pattern are those of the box.
/// Consecutive words of one region stand on one background, the score of each word below it. Words without a region are grey.
/// `columns` is the number of images side by side, in `1..=12`.
///
/// ```
/// use captionlab::data::BoundingBox;
/// use captionlab::show::{AlignedImage, AlignedWord, alignments};
/// let image = image::RgbImage::new(128, 128);
/// let boxes = vec![
///     BoundingBox { left: 0.0, top: 0.0, right: 128.0, bottom: 128.0 },
///     BoundingBox { left: 40.0, top: 10.0, right: 70.0, bottom: 60.0 },
/// ];
/// let words = vec![
///     AlignedWord::new("red", 1, 0.7),
///     AlignedWord::new("kite", 1, 0.8),
///     AlignedWord::new("over", None, 0.0),
///     AlignedWord::new("sea", 0, 0.4),
/// ];
/// let figure = alignments("Which word is where", &[AlignedImage { image, boxes, words, note: None }], 1)?;
/// assert_eq!(
///     figure.alternative,
///     "Words and regions: Which word is where. \"red kite over sea\". Region 1: red 0.70, kite 0.80. \
///      Region 2, the whole picture: sea 0.40. No region: over."
/// );
/// # Ok::<(), captionlab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] without images, for one without pixels or words, or for a word whose region does not exist, has no area, or
/// whose score is not finite; [`Error::Config`] for `columns` outside its range; [`Error::Figure`] if there are too many images for
/// a figure.
pub fn alignments(title: &str, images: &[AlignedImage], columns: usize) -> Result<Figure> {
    for (number, image) in (1..).zip(images) {
        check(image, number)?;
    }
    let shown = columns.clamp(1, images.len().max(1)) as f32;
    let side = ((WIDTH - 2.0 * MARGIN + GAP) / shown - GAP).clamp(IMAGE_WIDTHS.0, IMAGE_WIDTHS.1).floor();
    let config = GridConfig {
        columns,
        image_width: side as u32,
        title: Some(title.to_string()).filter(|title| !title.trim().is_empty()),
        ..GridConfig::default()
    };
    config.validate()?;
    let typeface = Typeface::new()?;
    let look = TextStyle::bold((side * 0.05).clamp(20.0, 28.0).round());
    let cells: Vec<Cell<'_, Sentence>> = images
        .iter()
        .map(|image| Cell { image: &image.image, title: None, below: Sentence::new(image, side, look, &typeface) })
        .collect();
    let drawn = draw_grid(&cells, look, &config, &typeface)?;
    Figure::from_image(&drawn, alternative(title, images))
}

fn check(image: &AlignedImage, number: usize) -> Result<()> {
    if image.image.width() == 0 || image.image.height() == 0 {
        let problem = format!("picture {number} has no pixels");
        return Err(Error::argument(problem, "Leave it out, or check how it was read."));
    }
    if image.words.is_empty() {
        let problem = format!("the sentence of picture {number} has no words");
        return Err(Error::argument(problem, "Give its words, each with its region or with `None`."));
    }
    for AlignedWord { word, region, score } in &image.words {
        if !score.is_finite() {
            return Err(Error::argument(
                format!("the score of \"{word}\" in picture {number} is {score}"),
                "Give finite scores; check the features and the weights that they come from.",
            ));
        }
        let Some(region) = *region else { continue };
        let Some(bounds) = image.boxes.get(region) else {
            return Err(Error::argument(
                format!(
                    "\"{word}\" in picture {number} is aligned with region {region}, of {} regions",
                    image.boxes.len()
                ),
                "Count regions from 0, as they stand in `boxes`.",
            ));
        };
        bounds.validate()?;
    }
    Ok(())
}

/// The regions that words are aligned with, each once, in the order of the sentence; numbers are places in it, from 1.
fn mentioned(words: &[AlignedWord]) -> Vec<usize> {
    let mut regions: Vec<usize> = Vec::new();
    for region in words.iter().filter_map(|word| word.region) {
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    regions
}

fn tagged(image: &AlignedImage, regions: &[usize]) -> Vec<Tagged> {
    let tagged = |(place, &region): (usize, &usize)| Tagged {
        bounds: image.boxes[region],
        tag: (place + 1).to_string(),
        mark: Mark::new(place),
        dashed: true,
    };
    regions.iter().enumerate().map(tagged).collect()
}

/// A sentence laid out below its image, with the boxes on it.
struct Sentence {
    boxes: Vec<Tagged>,
    look: TextStyle,
    lines: Vec<Vec<Run>>,
    note: Vec<String>,
}

/// Consecutive words of one region, or of none, on one line.
struct Run {
    /// Place of the region among those of the sentence.
    place: Option<usize>,
    /// Extents from the left edge of the column.
    left: f32,
    right: f32,
    words: Vec<Placed>,
}

/// A word with its score, and the middle of both.
struct Placed {
    word: String,
    score: String,
    middle: f32,
}

impl Sentence {
    fn new(image: &AlignedImage, side: f32, look: TextStyle, typeface: &Typeface) -> Self {
        let regions = mentioned(&image.words);
        let sizes = Sizes::of(look);
        let Sizes { padding, space, gap, score: score_look, .. } = sizes;
        let mut lines: Vec<Vec<Run>> = vec![Vec::new()];
        for words in image.words.chunk_by(|one, next| one.region == next.region) {
            let place = words[0].region.and_then(|region| regions.iter().position(|other| *other == region));
            let before = padding + place.map_or(0.0, |place| sizes.number(place));
            let room = side - before - padding;
            let measure = |AlignedWord { word, score, .. }: &AlignedWord| {
                let word = typeface.shorten(word, room, look);
                let score = place.map_or_else(String::new, |_| score_text(*score));
                let width = typeface.width(&word, look).max(typeface.width(&score, score_look));
                (word, score, width)
            };
            let words: Vec<(String, String, f32)> = words.iter().map(measure).collect();
            let whole = words.iter().map(|(_, _, width)| width + space).sum::<f32>() - space;
            // The words of a region stay together where a line has room for them.
            let together = if place.is_some() && whole <= room { whole } else { 0.0 };
            for (word, score, width) in words {
                let last = lines.last().and_then(|line| line.last());
                let (text, needed, joins) = match last {
                    Some(run) if run.place == place => (run.right - padding + space, width, true),
                    Some(run) => (run.right + gap + before, width.max(together), false),
                    None => (before, 0.0, false),
                };
                let fits = text + needed + padding <= side;
                if !fits {
                    lines.push(Vec::new());
                }
                let (text, joins) = if fits { (text, joins) } else { (before, false) };
                let (right, word) = (text + width + padding, Placed { word, score, middle: text + width / 2.0 });
                let Some(line) = lines.last_mut() else { continue };
                match line.last_mut().filter(|_| joins) {
                    Some(run) => {
                        run.words.push(word);
                        run.right = right;
                    }
                    None => line.push(Run { place, left: text - before, right, words: vec![word] }),
                }
            }
        }
        let note = image.note.as_deref().filter(|note| !note.trim().is_empty());
        let note = note.map_or_else(Vec::new, |note| typeface.wrap(note, side, NOTE_LINES, sizes.note));
        Self { boxes: tagged(image, &regions), look, lines, note }
    }
}

impl Below for Sentence {
    fn picture<'a>(&self, image: &'a RgbImage, width: u32) -> Result<Cow<'a, RgbImage>> {
        Ok(Cow::Owned(draw_tagged(image, width, &self.boxes, self.look, OUTLINE)?))
    }

    fn height(&self) -> f32 {
        let sizes = Sizes::of(self.look);
        let note = self.note.len() as f32 * sizes.note.line_height();
        sizes.above + self.lines.iter().map(|line| sizes.line(line)).sum::<f32>() + note
    }

    fn draw(&self, canvas: &mut Canvas, left: f32, top: f32) {
        let sizes = Sizes::of(self.look);
        let mut y = top + sizes.above;
        for line in &self.lines {
            let baseline = y + (sizes.chip + Typeface::cap_height(self.look)) / 2.0;
            for run in line {
                let ink = run.place.map_or(Ink::GRID, |place| Mark::new(place).ink());
                let text = if run.place.is_some() { ink.readable() } else { Ink::QUIET_TEXT };
                canvas.rectangle(left + run.left, y, run.right - run.left, sizes.chip, ink);
                if let Some(place) = run.place {
                    // The number on white: it is not one of the words.
                    let (x, border) = (left + run.left, 3.0);
                    let number = sizes.number(place);
                    let (width, height) = (number - 2.0 * border, sizes.chip - 2.0 * border);
                    canvas.rectangle(x + border, y + border, width, height, Ink::WHITE);
                    let middle = x + number / 2.0;
                    canvas.text(&(place + 1).to_string(), (middle, baseline), Align::Centre, self.look, Ink::TEXT);
                }
                let below = y + sizes.chip + sizes.score.size;
                for Placed { word, score, middle } in &run.words {
                    canvas.text(word, (left + middle, baseline), Align::Centre, self.look, text);
                    canvas.text(score, (left + middle, below), Align::Centre, sizes.score, Ink::TEXT);
                }
            }
            y += sizes.line(line);
        }
        for line in &self.note {
            canvas.text(line, (left, y + sizes.note.size), Align::Left, sizes.note, Ink::QUIET_TEXT);
            y += sizes.note.line_height();
        }
    }
}

/// Measures of a sentence, in proportion to its words.
struct Sizes {
    /// Between the image and the first line.
    above: f32,
    /// Height of the background of words.
    chip: f32,
    /// Between words and the ends of their background.
    padding: f32,
    /// Width of a number of one digit, and of each further digit.
    number: [f32; 2],
    /// Between words of a run.
    space: f32,
    /// Between runs.
    gap: f32,
    score: TextStyle,
    note: TextStyle,
}

impl Sizes {
    fn of(look: TextStyle) -> Self {
        Self {
            above: 12.0,
            chip: (look.size * 1.4).round(),
            padding: (look.size * 0.3).round(),
            number: [1.2, 0.7].map(|share| (look.size * share).round()),
            space: (look.size * 0.35).round(),
            gap: (look.size * 0.4).round(),
            score: TextStyle::regular((look.size * 0.75).max(16.0).round()),
            note: TextStyle::regular((look.size * 0.85).round()),
        }
    }

    /// Width of the number of a region, by its place from 0.
    fn number(&self, place: usize) -> f32 {
        self.number[0] + (place + 1).ilog10() as f32 * self.number[1]
    }

    /// Height of a line with its distance to the next one; without regions it has no scores.
    fn line(&self, runs: &[Run]) -> f32 {
        let has_scores = runs.iter().any(|run| run.place.is_some());
        self.chip + self.gap + if has_scores { self.score.line_height() } else { 0.0 }
    }
}

/// The text alternative.
fn alternative(title: &str, images: &[AlignedImage]) -> String {
    let mut text = headed("Words and regions", title);
    for (number, image) in (1..).zip(images).take(MOST_DESCRIBED) {
        if images.len() > 1 {
            text += &format!(" Picture {number}:");
        }
        let words: Vec<&str> = image.words.iter().map(|word| word.word.as_str()).collect();
        text += &format!(" \"{}\".", words.join(" "));
        for (place, region) in mentioned(&image.words).iter().enumerate() {
            let of_region = image.words.iter().filter(|word| word.region == Some(*region));
            let words: Vec<String> =
                of_region.map(|word| format!("{} {}", word.word, score_text(word.score))).collect();
            let whole = if is_whole(&image.boxes[*region], &image.image) { ", the whole picture" } else { "" };
            text += &format!(" Region {}{whole}: {}.", place + 1, words.join(", "));
        }
        let others = image.words.iter().filter(|word| word.region.is_none());
        let others: Vec<&str> = others.map(|word| word.word.as_str()).collect();
        if !others.is_empty() {
            text += &format!(" No region: {}.", others.join(", "));
        }
        if let Some(note) = &image.note {
            text += &format!(" {}", headed("Note", note));
        }
    }
    if let Some(more) = images.len().checked_sub(MOST_DESCRIBED).filter(|&more| more > 0) {
        text += &format!(" And {more} more.");
    }
    one_paragraph(&text)
}

/// Whether a box covers the image, up to rounding.
fn is_whole(bounds: &BoundingBox, image: &RgbImage) -> bool {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let within = (width.max(height) * 0.005).max(0.5);
    bounds.left <= within && bounds.top <= within && bounds.right >= width - within && bounds.bottom >= height - within
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    const GREY: Rgb<u8> = Rgb([128; 3]);

    fn bounds([left, top, right, bottom]: [f32; 4]) -> BoundingBox {
        BoundingBox { left, top, right, bottom }
    }

    fn words(regions: &[Option<usize>]) -> Vec<AlignedWord> {
        regions.iter().enumerate().map(|(i, &region)| AlignedWord::new(format!("w{i}"), region, 0.5)).collect()
    }

    fn sentence(regions: &[Option<usize>], side: f32) -> Sentence {
        let image = AlignedImage {
            image: RgbImage::from_pixel(100, 100, GREY),
            boxes: vec![bounds([0.0, 0.0, 100.0, 100.0]); 4],
            words: words(regions),
            note: None,
        };
        Sentence::new(&image, side, TextStyle::bold(24.0), &Typeface::new().unwrap())
    }

    #[test]
    fn numbers_of_one_and_of_two_digits_fit_their_frames() {
        let typeface = Typeface::new().unwrap();
        let look = TextStyle::bold(24.0);
        for place in [0, 8, 9, 18] {
            let width = typeface.width(&(place + 1).to_string(), look);
            assert!(width + 6.0 <= Sizes::of(look).number(place), "{place}: {width}");
        }
    }

    #[test]
    fn regions_are_numbered_as_the_sentence_mentions_them() {
        let cases: [(&[Option<usize>], &[usize]); 4] = [
            (&[Some(7), Some(7), None, Some(2)], &[7, 2]),
            (&[Some(2), Some(0), Some(2)], &[2, 0]),
            (&[None, None], &[]),
            (&[None, Some(5)], &[5]),
        ];
        for (regions, expected) in cases {
            assert_eq!(mentioned(&words(regions)), expected, "{regions:?}");
        }
    }

    #[test]
    fn consecutive_words_of_a_region_are_one_run() {
        let drawn = sentence(&[Some(3), Some(3), None, None, Some(1), Some(3)], 2000.0);
        let [line] = &drawn.lines[..] else { panic!("{} lines", drawn.lines.len()) };
        let runs: Vec<(Option<usize>, usize)> = line.iter().map(|run| (run.place, run.words.len())).collect();
        assert_eq!(runs, [(Some(0), 2), (None, 2), (Some(1), 1), (Some(0), 1)]);
        assert!(line[1].words.iter().all(|word| word.score.is_empty()));
        assert_eq!(line[0].words[0].score, "0.50");
    }

    #[test]
    fn a_sentence_is_wrapped_and_keeps_every_word() {
        for side in [60.0, 240.0, 332.0, 600.0] {
            for count in 1..=20 {
                let regions: Vec<Option<usize>> = (0..count).map(|i| [Some(i / 3), None][i / 2 % 2]).collect();
                let regions: Vec<Option<usize>> = regions.into_iter().map(|region| region.map(|r| r % 4)).collect();
                let drawn = sentence(&regions, side);
                let runs: Vec<&Run> = drawn.lines.iter().flatten().collect();
                assert_eq!(runs.iter().map(|run| run.words.len()).sum::<usize>(), count);
                assert!(runs.iter().all(|run| run.left >= 0.0 && run.right <= side.max(100.0)), "{side} {count}");
                for line in &drawn.lines {
                    assert!(!line.is_empty() && line.windows(2).all(|pair| pair[0].right < pair[1].left));
                }
            }
        }
    }

    #[test]
    fn boxes_stay_visible_at_the_border_and_where_they_coincide() {
        let image = RgbImage::from_pixel(100, 100, GREY);
        let whole = bounds([-3.0, 0.0, 100.0, 104.0]);
        let part = bounds([20.0, 20.0, 80.0, 80.0]);
        for boxes in [vec![whole], vec![whole; 4], vec![part; 3], vec![part, whole, part, whole]] {
            let tags = |count: usize| -> Vec<Tagged> {
                let tag = |place: usize| Tagged {
                    bounds: boxes[place],
                    tag: (place + 1).to_string(),
                    mark: Mark::new(place),
                    dashed: true,
                };
                (0..count).map(tag).collect()
            };
            let drawn = draw_tagged(&image, 400, &tags(boxes.len()), TextStyle::bold(24.0), OUTLINE).unwrap();
            for place in 0..boxes.len() {
                let Ink(ink) = Mark::new(place).ink();
                // The tag is a filled rectangle, and its outline goes all around.
                let count = drawn.pixels().filter(|pixel| pixel.0 == ink).count();
                assert!(count > 600, "{count} pixels of box {place} of {boxes:?}");
            }
        }
    }
}
