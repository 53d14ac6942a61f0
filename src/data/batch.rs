//! Captions of different lengths as one tensor.

use tch::Tensor;

use super::Vocabulary;

/// Word ids as a tensor `[captions, longest]` of `i64`: shorter rows are filled with [`Vocabulary::PAD`].
///
/// ```
/// use captionlab::data::pad;
/// let batch = pad(&[vec![1, 7, 2], vec![1, 7, 9, 8, 2]]);
/// assert_eq!(batch.size(), [2, 5]);
/// assert_eq!(Vec::<i64>::try_from(batch.get(0))?, [1, 7, 2, 0, 0]);
/// # Ok::<(), captionlab::Error>(())
/// ```
pub fn pad(rows: &[Vec<i64>]) -> Tensor {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let filled = rows.iter().flat_map(|row| {
        let padding = std::iter::repeat_n(Vocabulary::PAD, longest - row.len());
        row.iter().copied().chain(padding)
    });
    Tensor::from_slice(&filled.collect::<Vec<i64>>()).view([rows.len() as i64, longest as i64])
}
