//! Bounding boxes.

use crate::{Error, Result};

/// A rectangle in pixels of the original image, corners `(left, top)` and `(right, bottom)`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BoundingBox {
    /// Left edge.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Bottom edge.
    pub bottom: f32,
}

impl BoundingBox {
    /// Width × height; 0 for a box with swapped corners.
    pub fn area(&self) -> f64 {
        // The product of two `f32` is exact in `f64`.
        f64::from((self.right - self.left).max(0.0)) * f64::from((self.bottom - self.top).max(0.0))
    }

    /// The intersection of two boxes, if it has an area.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let common = Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        };
        // False for NaN.
        [self, other, &common].iter().all(|bounds| bounds.area() > 0.0).then_some(common)
    }

    /// The smallest box around two boxes.
    ///
    /// ```
    /// use captionlab::data::BoundingBox;
    /// let left = BoundingBox { left: 0.0, top: 10.0, right: 20.0, bottom: 30.0 };
    /// let right = BoundingBox { left: 40.0, top: 0.0, right: 50.0, bottom: 20.0 };
    /// assert_eq!(left.union(&right), BoundingBox { left: 0.0, top: 0.0, right: 50.0, bottom: 30.0 });
    /// ```
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// Intersection over union (IoU), in `0..=1`; 0 where a box has no area.
    pub fn iou(&self, other: &Self) -> f64 {
        let Some(common) = self.intersection(other).map(|common| common.area()) else { return 0.0 };
        let iou = common / (self.area() + other.area() - common);
        if iou.is_finite() { iou } else { 0.0 }
    }

    /// Clips the box to an image of that size. The result has no area where they do not intersect.
    #[must_use]
    pub fn clip(&self, width: f32, height: f32) -> Self {
        let (width, height) = (width.max(0.0), height.max(0.0));
        Self {
            left: self.left.clamp(0.0, width),
            top: self.top.clamp(0.0, height),
            right: self.right.clamp(0.0, width),
            bottom: self.bottom.clamp(0.0, height),
        }
    }

    /// Scales the box horizontally and vertically.
    #[must_use]
    pub fn scale(&self, across: f32, down: f32) -> Self {
        Self { left: self.left * across, top: self.top * down, right: self.right * across, bottom: self.bottom * down }
    }

    /// The box of a whole image.
    #[cfg(feature = "tensors")]
    pub(crate) fn whole((width, height): (u32, u32)) -> Self {
        Self { left: 0.0, top: 0.0, right: width as f32, bottom: height as f32 }
    }

    /// Cuts the box out of an image, widened to whole pixels and clipped to the image.
    ///
    /// # Errors
    /// [`Error::Argument`] for a box without area or outside the image.
    #[cfg(feature = "tensors")]
    pub(crate) fn crop(&self, picture: &image::RgbImage) -> Result<image::RgbImage> {
        self.validate()?;
        let (width, height) = picture.dimensions();
        let side = |low: f32, high: f32, size: u32| {
            let (low, high) = (low.floor().max(0.0) as u32, high.ceil().max(0.0) as u32);
            (low, high.min(size).saturating_sub(low))
        };
        let ((x, wide), (y, high)) = (side(self.left, self.right, width), side(self.top, self.bottom, height));
        if wide == 0 || high == 0 {
            return Err(Error::argument(
                format!("{self:?} is empty, or outside the picture of {width}×{height} pixels"),
                "Give boxes in pixels of this picture.",
            ));
        }
        Ok(image::imageops::crop_imm(picture, x, y, wide, high).to_image())
    }

    /// Checks that the box has an area.
    ///
    /// # Errors
    /// [`Error::Argument`] for a box without area or with NaN.
    pub fn validate(&self) -> Result<()> {
        let corners = [self.left, self.top, self.right, self.bottom];
        if corners.iter().all(|corner| corner.is_finite()) && self.right > self.left && self.bottom > self.top {
            return Ok(());
        }
        Err(Error::argument(
            format!("the box {corners:?} (left, top, right, bottom) has no area"),
            "Give boxes whose right is greater than their left and whose bottom is greater than their top, or leave them out.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of([left, top, right, bottom]: [f32; 4]) -> BoundingBox {
        BoundingBox { left, top, right, bottom }
    }

    #[test]
    fn iou_is_common_area_over_all_area_and_never_nan() {
        let own = [0.0, 0.0, 10.0, 10.0];
        let cases = [
            (own, own, 1.0),
            (own, [5.0, 0.0, 15.0, 10.0], 1.0 / 3.0),
            (own, [2.0, 2.0, 4.0, 7.0], 0.1),
            // Apart, at the border, at a corner.
            (own, [20.0, 20.0, 30.0, 30.0], 0.0),
            (own, [10.0, 0.0, 20.0, 10.0], 0.0),
            (own, [10.0, 10.0, 20.0, 20.0], 0.0),
            // Without area: a line, a point, turned round, no numbers.
            (own, [0.0, 0.0, 0.0, 10.0], 0.0),
            ([3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0], 0.0),
            ([10.0, 10.0, 0.0, 0.0], [10.0, 10.0, 0.0, 0.0], 0.0),
            (own, [f32::NAN, 0.0, 10.0, 10.0], 0.0),
            ([f32::NAN; 4], [f32::NAN; 4], 0.0),
            (own, [0.0, 0.0, f32::INFINITY, 10.0], 0.0),
            ([0.0, 0.0, f32::INFINITY, 10.0], [0.0, 0.0, f32::INFINITY, 10.0], 0.0),
        ];
        for (one, other, expected) in cases {
            for (one, other) in [(one, other), (other, one)] {
                let found = of(one).iou(&of(other));
                assert!((found - expected).abs() < 1e-12, "{one:?} {other:?}: {found}");
            }
        }
    }

    #[test]
    fn boxes_are_cut_off_at_the_border_and_scaled() {
        let own = of([-5.0, 10.0, 50.0, 200.0]);
        assert_eq!(own.clip(40.0, 100.0), of([0.0, 10.0, 40.0, 100.0]));
        assert_eq!(of([50.0, 0.0, 60.0, 10.0]).clip(40.0, 100.0).area(), 0.0);
        assert_eq!(own.clip(0.0, -1.0), of([0.0; 4]));
        assert_eq!(own.scale(2.0, 0.5), of([-10.0, 5.0, 100.0, 100.0]));
        assert_eq!(own.area(), 55.0 * 190.0);
        assert_eq!(own.intersection(&of([0.0, 0.0, 20.0, 20.0])), Some(of([0.0, 10.0, 20.0, 20.0])));
        assert_eq!(own.intersection(&of([60.0, 0.0, 70.0, 20.0])), None);
        assert_eq!(own.union(&of([0.0, 0.0, 20.0, 20.0])), of([-5.0, 0.0, 50.0, 200.0]));
        assert_eq!(own.union(&own), own);
    }

    #[test]
    fn boxes_without_area_are_refused() {
        of([0.0, 0.0, 1.0, 0.5]).validate().unwrap();
        let wrong = [
            [0.0, 0.0, 0.0, 1.0],
            [0.0, 1.0, 1.0, 1.0],
            [2.0, 0.0, 1.0, 1.0],
            [f32::NAN, 0.0, 1.0, 1.0],
            [0.0, 0.0, f32::INFINITY, 1.0],
        ];
        for corners in wrong {
            let message = of(corners).validate().unwrap_err().to_string();
            assert!(message.contains("has no area"), "{message}");
        }
    }
}
