//! Tables as HTML and plain text.

use std::fmt::{self, Write as _};

use super::figure::one_paragraph;

/// A table that displays itself in a notebook: as HTML, or as aligned plain text where HTML is not supported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Caption above the table; empty for none.
    pub caption: String,
    /// Column names.
    pub columns: Vec<String>,
    /// A line below the names, such as column types; empty for none.
    pub types: Vec<String>,
    /// Rows of cells. Short rows are padded with empty cells; a long row widens the table.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table without rows.
    pub fn new<S: Into<String>>(caption: impl Into<String>, columns: impl IntoIterator<Item = S>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { caption: caption.into(), columns, ..Self::default() }
    }

    /// Adds a row of anything that can be printed.
    pub fn push<S: ToString>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(|cell| cell.to_string()).collect());
    }

    /// The table as HTML, with its content escaped.
    pub fn html(&self) -> String {
        let mut html = String::from("<table style=\"border-collapse: collapse; font-size: 16px; margin: 0\">\n");
        if !self.caption.is_empty() {
            let caption = escaped(&self.caption);
            let _ = writeln!(
                html,
                "<caption style=\"caption-side: top; text-align: left; font-weight: bold; padding: 4px 0\">{caption}</caption>"
            );
        }
        let right = self.numeric_columns();
        let align = |column: usize| if right[column] { "right" } else { "left" };
        html.push_str("<thead><tr style=\"border-bottom: 2px solid currentColor\">");
        for (column, &right) in right.iter().enumerate() {
            let align = if right { "right" } else { "left" };
            let name = escaped(cell(&self.columns, column));
            let _ = write!(html, "<th scope=\"col\" style=\"text-align: {align}; padding: 4px 12px\">{name}");
            if let Some(kind) = self.types.get(column) {
                let _ = write!(html, "<br><span style=\"font-weight: normal; opacity: 0.7\">{}</span>", escaped(kind));
            }
            html.push_str("</th>");
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for column in 0..right.len() {
                let (align, text) = (align(column), escaped(cell(row, column)));
                let _ = write!(html, "<td style=\"text-align: {align}; padding: 4px 12px\">{text}</td>");
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody>\n</table>");
        html
    }

    /// Displays the table below the notebook cell. Notebooks call this for a cell's last expression.
    pub fn evcxr_display(&self) {
        evcxr_runtime::mime_type("text/plain").text(self.to_string());
        evcxr_runtime::mime_type("text/html").text(self.html());
    }

    fn width(&self) -> usize {
        self.rows.iter().map(Vec::len).chain([self.columns.len(), self.types.len()]).max().unwrap_or(0)
    }

    /// Columns that contain only numbers, and at least one: these are right-aligned.
    fn numeric_columns(&self) -> Vec<bool> {
        (0..self.width())
            .map(|column| {
                let mut filled = self.rows.iter().map(|row| cell(row, column).trim()).filter(|text| !text.is_empty());
                let mut any = false;
                filled.all(|text| {
                    any = true;
                    is_number(text)
                }) && any
            })
            .collect()
    }
}

/// Displays aligned plain text.
impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let right = self.numeric_columns();
        let line = |row: &[String]| -> Vec<String> { (0..right.len()).map(|c| one_paragraph(cell(row, c))).collect() };
        let header = line(&self.columns);
        let types = line(&self.types);
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| line(row)).collect();
        let widths: Vec<usize> = (0..right.len())
            .map(|c| rows.iter().chain([&header, &types]).map(|row| cell(row, c).chars().count()).max().unwrap_or(0))
            .collect();
        if !self.caption.is_empty() {
            writeln!(formatter, "{}", one_paragraph(&self.caption))?;
        }
        let mut write_row = |row: &[String]| {
            let cells: Vec<String> = (0..right.len())
                .map(|c| {
                    let (text, width) = (cell(row, c), widths[c]);
                    if right[c] { format!("{text:>width$}") } else { format!("{text:<width$}") }
                })
                .collect();
            writeln!(formatter, "{}", cells.join("  ").trim_end())
        };
        write_row(&header)?;
        if !self.types.is_empty() {
            write_row(&types)?;
        }
        write_row(&widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>())?;
        rows.iter().try_for_each(|row| write_row(row))
    }
}

fn cell(row: &[String], column: usize) -> &str {
    row.get(column).map_or("", String::as_str)
}

/// Whether a cell is a number: `3,000`, `-0.25`, `1e-4`, `75 %`, `—` for none.
fn is_number(text: &str) -> bool {
    let text = text.strip_suffix('%').unwrap_or(text).trim_end();
    matches!(text, "—" | "-" | "null") || text.replace(',', "").replace('−', "-").parse::<f64>().is_ok()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_paragraph(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // JupyterLab typesets text between dollar signs as mathematics, unless they are entities.
            '$' => out.push_str("&#36;"),
            _ => out.push(c),
        }
    }
    out
}
