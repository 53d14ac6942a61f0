//! Polars data frames as tables.

use polars::prelude::{AnyValue, DataFrame};

use super::axis::grouped;
use super::table::Table;

/// Number of rows that [`data_frame`] shows.
const ROWS: usize = 10;

/// Number of characters after which a cell is truncated with "…".
const LONGEST_CELL: usize = 200;

/// The first ten rows of a data frame as a table. Its caption is the shape, and the column types are below the names.
///
/// ```
/// use captionlab::polars::prelude::*;
/// let frame = df!("word" => ["dog", "boat"], "count" => [120, 45]).map_err(|error| error.to_string())?;
/// let table = captionlab::show::data_frame(&frame);
/// assert_eq!(table.caption, "2 rows × 2 columns");
/// assert_eq!(table.rows[1], ["boat", "45"]);
/// # Ok::<(), String>(())
/// ```
pub fn data_frame(frame: &DataFrame) -> Table {
    data_frame_rows(frame, ROWS)
}

/// As [`data_frame`], with the first `rows` rows.
pub fn data_frame_rows(frame: &DataFrame, rows: usize) -> Table {
    let (height, width) = (frame.height(), frame.width());
    let shown = rows.min(height);
    let plural = |count: usize, name: &str| {
        format!("{} {name}{}", grouped(&count.to_string()), if count == 1 { "" } else { "s" })
    };
    let mut caption = format!("{} × {}", plural(height, "row"), plural(width, "column"));
    if shown < height {
        caption += &format!(", the first {} shown", grouped(&shown.to_string()));
    }
    let columns = frame.columns();
    let mut table = Table::new(caption, columns.iter().map(|column| column.name().to_string()));
    table.types = columns.iter().map(|column| column.dtype().to_string()).collect();
    table.rows = (0..shown)
        .map(|row| columns.iter().map(|column| column.get(row).map_or_else(|_| String::new(), written)).collect())
        .collect();
    table
}

/// Formats a value: strings without quotes, numbers with at most four decimals, "—" for null.
fn written(value: AnyValue<'_>) -> String {
    match value {
        AnyValue::Null => "—".into(),
        AnyValue::Float32(number) => decimal(f64::from(number)),
        AnyValue::Float64(number) => decimal(number),
        other => {
            let text = other.str_value();
            let mut characters = text.chars();
            let kept: String = characters.by_ref().take(LONGEST_CELL).collect();
            if characters.next().is_some() { kept + "…" } else { kept }
        }
    }
}

fn decimal(number: f64) -> String {
    if number != 0.0 && !(1e-3..1e9).contains(&number.abs()) {
        return super::axis::number(number);
    }
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use polars::prelude::*;

    use super::*;

    #[test]
    fn a_table_names_shape_and_types_and_shows_the_first_rows() {
        let frame = df!(
            "caption" => (0..3000).map(|i| format!("a \"dog\" {i}")).collect::<Vec<_>>(),
            "words" => (0..3000i64).collect::<Vec<_>>(),
            "mean" => (0..3000).map(|i| (i != 1).then_some(f64::from(i) / 3.0)).collect::<Vec<_>>(),
        )
        .unwrap();
        let table = data_frame(&frame);
        assert_eq!(table.caption, "3,000 rows × 3 columns, the first 10 shown");
        assert_eq!(table.columns, ["caption", "words", "mean"]);
        assert_eq!(table.types, ["str", "i64", "f64"]);
        assert_eq!(table.rows.len(), 10);
        assert_eq!(table.rows[1], ["a \"dog\" 1", "1", "—"]);
        assert_eq!(table.rows[2], ["a \"dog\" 2", "2", "0.6667"]);
    }

    #[test]
    fn small_and_empty_frames_are_tables_too() {
        assert_eq!(data_frame(&DataFrame::empty()).caption, "0 rows × 0 columns");
        let frame = df!("x" => [1.0e-9, f64::NAN, f64::INFINITY, 0.0]).unwrap();
        let table = data_frame_rows(&frame, 100);
        assert_eq!(table.caption, "4 rows × 1 column");
        assert_eq!(table.rows.concat(), ["1×10⁻⁹", "not a number", "∞", "0"]);
        assert!(data_frame_rows(&frame, 0).rows.is_empty());
    }
}
