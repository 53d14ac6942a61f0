//! Images with labelled bounding boxes.

use image::RgbImage;

use super::canvas::{Align, Canvas, fitted};
use super::figure::{Figure, headed, one_paragraph};
use super::grid::{CaptionedImage, GridConfig, captioned_grid};
use super::style::{Ink, Mark};
use super::text::TextStyle;
use crate::data::BoundingBox;
use crate::{Error, Result};

/// An image with labelled boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxedImage {
    /// The image, of any size and aspect ratio.
    pub image: RgbImage,
    /// Boxes in pixels with labels, such as "dog 98 %". Equal labels, ignoring a number at their end, have the same colour in all
    /// images.
    pub boxes: Vec<(BoundingBox, String)>,
    /// Title above the image.
    pub title: Option<String>,
}

/// Number of boxes that the text alternative names per image.
const MOST_NAMED: usize = 12;

/// Draws images side by side with labelled boxes.
///
/// ```
/// use captionlab::data::scenes::Scene;
/// use captionlab::show::{BoxedImage, GridConfig, boxed_images};
/// let scene = Scene::generate(1, 0);
/// let boxes = scene.things().iter().map(|thing| (thing.bounds, thing.kind.to_string())).collect();
/// let figure = boxed_images(&[BoxedImage { image: scene.draw(), boxes, title: None }], &GridConfig::default())?;
/// assert!(figure.alternative.contains(scene.things()[0].kind.name()));
/// # Ok::<(), captionlab::Error>(())
/// ```
///
/// # Errors
/// As [`captioned_grid`].
pub fn boxed_images(images: &[BoxedImage], config: &GridConfig) -> Result<Figure> {
    config.validate()?;
    let mut names: Vec<&str> = images.iter().flat_map(|image| &image.boxes).map(|(_, name)| kind(name)).collect();
    names.sort_unstable();
    names.dedup();
    let drawn = images
        .iter()
        .map(|image| {
            let drawn = draw(image, config.image_width, &names)?;
            Ok(CaptionedImage { image: drawn, captions: Vec::new(), title: image.title.clone() })
        })
        .collect::<Result<Vec<_>>>()?;
    let figure = captioned_grid(&drawn, config)?;
    Ok(Figure { alternative: alternative(images, config), ..figure })
}

/// A label without the number at its end.
fn kind(name: &str) -> &str {
    let end =
        name.match_indices(' ').find(|(place, _)| name[place + 1..].starts_with(|next: char| next.is_ascii_digit()));
    end.map_or(name, |(place, _)| &name[..place])
}

/// Draws the boxes on the image at its size in the grid.
fn draw(boxed: &BoxedImage, side: u32, names: &[&str]) -> Result<RgbImage> {
    let tagged = |(bounds, name): &(BoundingBox, String)| {
        let mark = Mark::new(names.binary_search(&kind(name)).unwrap_or_default());
        Tagged { bounds: *bounds, tag: name.clone(), mark, dashed: false }
    };
    let look = TextStyle::bold((side as f32 * 0.055).clamp(13.0, 24.0).round());
    let line = (side as f32 / 140.0).clamp(2.0, 5.0);
    draw_tagged(&boxed.image, side, &boxed.boxes.iter().map(tagged).collect::<Vec<_>>(), look, line)
}

/// A box in pixels of the image, with a tag at one of its corners.
pub(super) struct Tagged {
    pub bounds: BoundingBox,
    pub tag: String,
    pub mark: Mark,
    /// Whether the outline has the mark's dash pattern, rather than a solid line.
    pub dashed: bool,
}

/// Draws boxes on the image at its size in a grid whose columns are `side` wide, with outlines as thick as `line`.
///
/// Each box stays visible: outlines lie inside the image, and where boxes coincide, inside one another; tags lie side by side above
/// all outlines.
pub(super) fn draw_tagged(
    image: &RgbImage,
    side: u32,
    boxes: &[Tagged],
    look: TextStyle,
    line: f32,
) -> Result<RgbImage> {
    if image.width() == 0 || image.height() == 0 {
        return Err(Error::argument("a picture has no pixels", "Leave it out, or check how it was read."));
    }
    let size = fitted(image, side as f32);
    let (width, height) = (size.0 as f32, size.1 as f32);
    let (across, down) = (width / image.width() as f32, height / image.height() as f32);
    let mut canvas = Canvas::new(width, height)?;
    canvas.picture(image, 0, 0, size.0, size.1)?;
    // Large boxes first, so that small ones are on top.
    let mut order: Vec<&Tagged> = boxes.iter().collect();
    order.sort_by(|one, other| other.bounds.area().total_cmp(&one.bounds.area()));
    let mut outlines: Vec<[f32; 4]> = Vec::new();
    let mut corners: Vec<[f32; 4]> = Vec::new();
    for Tagged { bounds, mark, dashed, .. } in &order {
        let bounds = bounds.scale(across, down);
        let (step, border) = (line + 3.0, line / 2.0 + 1.0);
        let (x, y) = (|x: f32| x.max(border).min(width - border), |y: f32| y.max(border).min(height - border));
        let edges = [x(bounds.left), y(bounds.top), x(bounds.right), y(bounds.bottom)];
        let coincides = |other: &&[f32; 4]| other.iter().zip(edges).all(|(other, edge)| (other - edge).abs() < step);
        let inside = outlines.iter().filter(coincides).count() as f32 * step;
        outlines.push(edges);
        let outline = [edges[0] + inside, edges[1] + inside, edges[2] - inside, edges[3] - inside];
        canvas.frame(outline, line + 2.0, None, Ink::WHITE);
        canvas.frame(outline, line, mark.dash(line).filter(|_| *dashed), mark.ink());
        let [left, top, right, bottom] = outline;
        let half = line / 2.0;
        corners.push([left - half, top - half, right + half, bottom + half]);
    }
    let mut tags: Vec<[f32; 4]> = Vec::new();
    for (Tagged { tag, mark, .. }, [left, top, _, bottom]) in order.into_iter().zip(corners) {
        let (tag_width, tag_height) = (canvas.typeface.width(tag, look) + 8.0, (look.size * 1.3).round());
        let free = |&(x, y): &(f32, f32)| {
            let inside = x >= 0.0 && x + tag_width <= width && y >= 0.0 && y + tag_height <= height;
            let covers = |tag: &[f32; 4]| x < tag[2] && tag[0] < x + tag_width && y < tag[3] && tag[1] < y + tag_height;
            inside && !tags.iter().any(covers)
        };
        let start = left.min(width - tag_width).max(0.0);
        // Above the box or below, outside or inside, at its left corner where there is room, else further to the right.
        let columns = (0..16).map(|number| start + number as f32 * tag_width);
        let rows = [top - tag_height, top, bottom, bottom - tag_height, top + tag_height];
        let (x, y) = columns
            .flat_map(|x| rows.map(|y| (x, y)))
            .find(free)
            .unwrap_or((start, top.min(height - tag_height).max(0.0)));
        tags.push([x, y, x + tag_width, y + tag_height]);
        let ink = mark.ink();
        canvas.rectangle(x, y, tag_width.min(width), tag_height, ink);
        canvas.text(tag, (x + 4.0, y + look.size), Align::Left, look, ink.readable());
    }
    canvas.into_image()
}

fn alternative(images: &[BoxedImage], config: &GridConfig) -> String {
    let what = match images {
        [_] => "A picture with boxes".to_owned(),
        _ => format!("Grid of {} pictures with boxes", images.len()),
    };
    let mut text = headed(&what, config.title.as_deref().unwrap_or_default());
    for (number, image) in (1..).zip(images) {
        if images.len() > 1 {
            text += &format!(" Picture {number}");
        }
        if let Some(title) = &image.title {
            text += &format!(" ({title})");
        }
        let named: Vec<&str> = image.boxes.iter().take(MOST_NAMED).map(|(_, name)| name.as_str()).collect();
        text += &match (named.is_empty(), image.boxes.len().saturating_sub(MOST_NAMED)) {
            (true, _) => ": no box.".to_owned(),
            (false, 0) => format!(": {}.", named.join(", ")),
            (false, more) => format!(": {} and {more} more.", named.join(", ")),
        };
    }
    one_paragraph(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_share_a_colour_whatever_their_number() {
        for (name, expected) in [("dog 98 %", "dog"), ("hot dog 7 %", "hot dog"), ("dog", "dog"), ("", "")] {
            assert_eq!(kind(name), expected);
        }
    }

    #[test]
    fn boxes_are_drawn_where_they_are_and_named_in_words() {
        let bounds = BoundingBox { left: 10.0, top: 30.0, right: 60.0, bottom: 80.0 };
        let image = RgbImage::from_pixel(100, 100, image::Rgb([128, 128, 128]));
        let boxed = BoxedImage { image, boxes: vec![(bounds, "dog 98 %".to_string())], title: None };
        let drawn = draw(&boxed, 200, &["dog"]).unwrap();
        let Ink(colour) = Mark::new(0).ink();
        assert_eq!(drawn.get_pixel(20, 120).0, colour);
        assert_eq!(drawn.get_pixel(70, 110).0, [128, 128, 128]);
        let nothing = BoxedImage { boxes: Vec::new(), ..boxed.clone() };
        let figure = boxed_images(&[boxed, nothing], &GridConfig::default()).unwrap();
        assert_eq!(figure.alternative, "Grid of 2 pictures with boxes. Picture 1: dog 98 %. Picture 2: no box.");
    }
}
