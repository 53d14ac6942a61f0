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

/// An endless film of drawn scenes that no captioner has learnt: the camera shakes and breathes, light changes, and the sensor is noisy,
/// so no two frames are equal. Every few frames the next scene comes. The same film for the same seed.
#[derive(Debug, Clone)]
pub struct Film {
    random: Random,
    frames_of_scene: u32,
    scene: Scene,
    drawn: RgbImage,
    frame: u32,
}

impl Film {
    /// A film that shows each scene for so many frames, at least 1; it begins at scene number `first`.
    pub fn new(first: u64, frames_of_scene: u32) -> Self {
        let scene = Scene::generate(SEED, first);
        let drawn = scene.draw_at(DRAWN);
        Self {
            random: Random::stream(SEED ^ 1, first),
            frames_of_scene: frames_of_scene.max(1),
            scene,
            drawn,
            frame: 0,
        }
    }
}

impl Iterator for Film {
    type Item = Shot;

    fn next(&mut self) -> Option<Shot> {
        if self.frame == self.frames_of_scene {
            self.scene = Scene::generate(SEED, self.scene.index() + 1);
            self.drawn = self.scene.draw_at(DRAWN);
            self.frame = 0;
        }
        // A slow sway, and a tremble.
        let sway = |period: f32| (self.frame as f32 / period).sin();
        let middle = SHAKE as f32;
        let (across, down) = (sway(3.1), sway(4.7));
        let mut place = |sway: f32| (middle + sway * (middle - 2.0) + self.random.between(-2.0, 2.0)).round() as u32;
        let (x, y) = (place(across).min(2 * SHAKE), place(down).min(2 * SHAKE));
        let side = DRAWN - 2 * SHAKE;
        let mut picture = imageops::crop_imm(&self.drawn, x, y, side, side).to_image();
        let light = self.random.between(0.92, 1.08);
        for value in picture.iter_mut() {
            let noise = self.random.between(-6.0, 6.0);
            *value = (f32::from(*value) * light + noise).round().clamp(0.0, 255.0) as u8;
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
}
