//! A film of drawn scenes, as a hand-held camera would take it.

use image::{RgbImage, imageops};

use crate::data::Random;
use crate::data::scenes::Scene;

/// The side of a scene as it is drawn for the film, of which a frame shows all but a margin.
const DRAWN: u32 = 288;
/// How far the camera may shake, in pixels, to each side.
const SHAKE: u32 = 8;
/// The seed of the scenes; data sets have others, so no captioner has learnt them.
const SEED: u64 = 0xF11E;

/// A frame of a [`Film`].
#[derive(Debug, Clone)]
pub struct Shot {
    /// What it shows, with its true captions.
    pub scene: Scene,
    /// 272×272 pixels.
    pub picture: RgbImage,
}

/// How a scene is filmed. The default is a good camera close by; other values are what a camera in a room does to pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filming {
    /// Brightness is multiplied by this, above 0.
    pub light: f32,
    /// Most that the sensor adds to or takes from a value, of 255.
    pub noise: f32,
    /// Standard deviation of the blur in pixels, of the 272 on a side; 0 for none.
    pub blur: f32,
    /// How much of the frame's side the scene takes, above 0 and at most 1; the rest is a grey wall.
    pub share: f32,
}

impl Default for Filming {
    fn default() -> Self {
        Self { light: 1.0, noise: 6.0, blur: 0.0, share: 1.0 }
    }
}

/// An endless film of drawn scenes that no captioner has learnt: the hand shakes, light changes, and the sensor is noisy, so no two
/// frames are equal. After `frames_of_scene` frames the next scene comes. The same film for the same numbers.
#[derive(Debug, Clone)]
pub struct Film {
    random: Random,
    filming: Filming,
    frames_of_scene: u32,
    scene: Scene,
    drawn: RgbImage,
    frame: u32,
}

impl Film {
    /// A film that shows each scene for so many frames, at least 1; it begins at scene number `first`.
    pub fn new(first: u64, frames_of_scene: u32) -> Self {
        Self::filmed(first, frames_of_scene, Filming::default())
    }

    /// As [`Film::new`], filmed in some way.
    pub fn filmed(first: u64, frames_of_scene: u32, filming: Filming) -> Self {
        let scene = Scene::generate(SEED, first);
        let drawn = filming.place(scene.draw_at(DRAWN));
        let random = Random::stream(SEED ^ 1, first);
        Self { random, filming, frames_of_scene: frames_of_scene.max(1), scene, drawn, frame: 0 }
    }
}

impl Filming {
    /// The scene as it stands before the camera.
    fn place(&self, drawn: RgbImage) -> RgbImage {
        let side = ((DRAWN as f32 * self.share.clamp(0.05, 1.0)).round() as u32).clamp(1, DRAWN);
        let mut before = drawn;
        if side < DRAWN {
            let small = imageops::resize(&before, side, side, imageops::FilterType::Triangle);
            before = RgbImage::from_pixel(DRAWN, DRAWN, image::Rgb([150, 148, 144]));
            imageops::replace(&mut before, &small, i64::from(DRAWN - side) / 2, i64::from(DRAWN - side) / 2);
        }
        match self.blur > 0.0 {
            true => imageops::fast_blur(&before, self.blur),
            false => before,
        }
    }
}

impl Iterator for Film {
    type Item = Shot;

    fn next(&mut self) -> Option<Shot> {
        if self.frame == self.frames_of_scene {
            self.scene = Scene::generate(SEED, self.scene.index().wrapping_add(1));
            self.drawn = self.filming.place(self.scene.draw_at(DRAWN));
            self.frame = 0;
        }
        // A slow sway, and a tremble.
        let (across, down) = ((self.frame as f32 / 3.1).sin(), (self.frame as f32 / 4.7).sin());
        let middle = SHAKE as f32;
        let mut place = |sway: f32| (middle + sway * (middle - 2.0) + self.random.between(-2.0, 2.0)).round() as u32;
        let (x, y) = (place(across).min(2 * SHAKE), place(down).min(2 * SHAKE));
        let side = DRAWN - 2 * SHAKE;
        let mut picture = imageops::crop_imm(&self.drawn, x, y, side, side).to_image();
        let light = self.filming.light * self.random.between(0.92, 1.08);
        let noise = self.filming.noise.abs();
        for value in picture.iter_mut() {
            *value = (f32::from(*value) * light + self.random.between(-noise, noise)).round().clamp(0.0, 255.0) as u8;
        }
        self.frame += 1;
        Some(Shot { scene: self.scene.clone(), picture })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_repeats_its_scenes_but_never_a_frame() {
        let shots: Vec<Shot> = Film::new(3, 4).take(9).collect();
        let scenes: Vec<u64> = shots.iter().map(|shot| shot.scene.index()).collect();
        assert_eq!(scenes, [3, 3, 3, 3, 4, 4, 4, 4, 5]);
        for pair in shots.windows(2) {
            assert_ne!(pair[0].picture, pair[1].picture);
        }
        let again: Vec<Shot> = Film::new(3, 4).take(9).collect();
        assert!(shots.iter().zip(&again).all(|(shot, again)| shot.picture == again.picture));
        assert_eq!(shots[0].picture.dimensions(), (272, 272));
    }

    #[test]
    fn a_room_changes_what_the_camera_sees() {
        let mean = |filming: Filming| {
            let picture = Film::filmed(0, 1, filming).next().unwrap().picture;
            picture.iter().map(|&value| f64::from(value)).sum::<f64>() / picture.len() as f64
        };
        let good = mean(Filming::default());
        assert!(mean(Filming { light: 0.4, ..Filming::default() }) < 0.5 * good);
        // Far away there is little but the wall.
        assert!((mean(Filming { share: 0.1, ..Filming::default() }) - 148.0).abs() < 15.0);
        let corner = |filming: Filming| *Film::filmed(0, 1, filming).next().unwrap().picture.get_pixel(0, 0);
        assert!(corner(Filming { share: 0.5, noise: 0.0, ..Filming::default() })[0].abs_diff(148) < 16);
        // What is odd does no harm.
        for odd in [0.0, -1.0, f32::NAN] {
            let filming = Filming { light: odd, noise: odd, blur: odd, share: odd };
            assert_eq!(Film::filmed(0, 1, filming).next().unwrap().picture.dimensions(), (272, 272));
        }
    }
}
