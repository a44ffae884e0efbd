use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use hns_hcn::escape_steering;
use serde_json::Value;

use crate::failure::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Wide,
    Json,
}

/// A table under construction: the columns of `-o table`, and those that `-o wide` adds.
#[derive(Debug)]
pub struct Rows {
    wide: bool,
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    pub fn new(format: Format, columns: &[&'static str], wide_columns: &[&'static str]) -> Self {
        let wide = format == Format::Wide;
        let mut headers = columns.to_vec();
        if wide {
            headers.extend(wide_columns);
        }
        Self { wide, headers, rows: Vec::new() }
    }

    /// An id, shortened to what is still accepted wherever ids are.
    pub fn id(&self, id: &str) -> String {
        if self.wide { id.to_owned() } else { id.chars().take(8).collect() }
    }

    /// Adds a row, each cell on one line. Empty cells become `-`, so that columns can be cut out by position.
    pub fn push(&mut self, cells: Vec<String>, wide_cells: Vec<String>) {
        let mut row = cells;
        if self.wide {
            row.extend(wide_cells);
        }
        for cell in &mut row {
            *cell = if cell.is_empty() { "-".to_owned() } else { shown(cell) };
        }
        self.rows.push(row);
    }

    /// Adds a line below the last cell.
    pub fn add_below(&mut self, text: &str) {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            cell.push('\n');
            cell.push_str(&shown(text));
        }
    }
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(&self.headers);
        table.add_rows(&self.rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Prints a table, or the documents it was made from.
pub fn show(format: Format, documents: &[Value], rows: impl FnOnce(Format) -> Rows) -> Result<(), Failure> {
    match format {
        Format::Json => show_json(&Value::Array(documents.to_vec())),
        Format::Table | Format::Wide => write(&rows(format).to_string()),
    }
}

/// The same; where there is nothing, a sentence on standard error says so instead of a table without rows.
pub fn show_some(
    format: Format,
    documents: &[Value],
    nothing: &str,
    rows: impl FnOnce(Format) -> Rows,
) -> Result<(), Failure> {
    if documents.is_empty() && format != Format::Json {
        complain(nothing);
        return Ok(());
    }
    show(format, documents, rows)
}

/// Prints one document after a change, or its row.
pub fn show_one(format: Format, document: &Value, rows: impl FnOnce(Format) -> Rows) -> Result<(), Failure> {
    match format {
        Format::Json => show_json(document),
        Format::Table | Format::Wide => write(&rows(format).to_string()),
    }
}

/// Prints documents for `inspect`: one as itself, several as a list.
pub fn show_documents(mut documents: Vec<Value>) -> Result<(), Failure> {
    match documents.len() {
        1 => show_json(&documents.remove(0)),
        _ => show_json(&Value::Array(documents)),
    }
}

pub fn show_json(document: &Value) -> Result<(), Failure> {
    write(&format!("{document:#}\n"))
}

/// A document on one line of its own. JSON is for programs, and is left as it is.
pub fn json_line(document: &Value) -> Result<(), Failure> {
    write(&format!("{document}\n"))
}

pub fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{}\n", shown(text)))
}

/// A text on one line that a terminal only shows. Images, runtimes and other clients have written parts of what we print,
/// and with them could move the cursor, write lines that look like ours, or turn round what stands beside them.
pub fn shown(text: &str) -> String {
    escape_steering(text, &[])
}

/// Writes to standard output at once, so that a pipe sees each event when it happens.
pub fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|source| Failure::Output { source })
}

/// Writes lines to standard error. When that is closed too, there is nobody left to tell.
pub fn complain(text: &str) {
    let text = escape_steering(text, &['\n']);
    let _nobody_listens = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(format: Format) -> Rows {
        let mut rows = Rows::new(format, &["NAME", "ID", "PORTS"], &["MAC"]);
        let id = rows.id("1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44");
        rows.push(vec!["web".into(), id.clone(), String::new()], vec!["00-15-5D-00-00-01".into()]);
        rows.push(vec!["a-longer-name".into(), id, "8080:80/tcp".into()], vec![String::new()]);
        rows
    }

    #[test]
    fn tables_have_no_borders_and_no_empty_cells() {
        insta::assert_snapshot!(rows(Format::Table), @r"
        NAME           ID        PORTS
        web            1F0E7F52  -
        a-longer-name  1F0E7F52  8080:80/tcp
        ");
        insta::assert_snapshot!(rows(Format::Wide), @r"
        NAME           ID                                    PORTS        MAC
        web            1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44  -            00-15-5D-00-00-01
        a-longer-name  1F0E7F52-6C1B-4C57-93C6-2D8C7A5B3E44  8080:80/tcp  -
        ");
    }

    #[test]
    fn a_cell_is_one_line_that_steers_nothing() {
        let mut rows = Rows::new(Format::Table, &["NAME", "COMMAND"], &[]);
        rows.push(vec!["größer".into(), "sh\u{1b}[2J\u{9b}31m\u{7f}".into()], Vec::new());
        rows.push(vec!["web\nroot".into(), "a\tb\r\u{202e}gpj\u{2066}".into()], Vec::new());
        rows.add_below("hint: \u{7}");
        insta::assert_snapshot!(rows.to_string(), @r"
        NAME       COMMAND
        größer     sh\u{1b}[2J\u{9b}31m\u{7f}
        web\nroot  a\tb\r\u{202e}gpj\u{2066}
                   hint: \u{7}
        ");
    }
}
