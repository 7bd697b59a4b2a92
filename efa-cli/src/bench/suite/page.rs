//! A page of the report, as HTML and as Markdown.

use crate::palette::{FONT, INK, LINE, MUTED, PALE_GREY, WHITE};
use crate::xml::escaped;

/// A page: a title and what stands below.
pub(super) struct Page {
    title: String,
    blocks: Vec<Block>,
}

enum Block {
    Heading(String),
    Text(String),
    /// Text as a terminal shows it.
    Verbatim(String),
    Table {
        columns: Vec<String>,
        rows: Vec<Vec<String>>,
    },
    Picture {
        file: String,
        says: String,
    },
}

impl Page {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new() }
    }

    pub(super) fn heading(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Heading(text.into()));
    }

    pub(super) fn text(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Text(text.into()));
    }

    pub(super) fn verbatim(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Verbatim(text.into()));
    }

    /// Adds a table; the first column is text, the others are right-aligned if they hold numbers.
    pub(super) fn table<'a>(&mut self, columns: impl IntoIterator<Item = &'a str>, rows: Vec<Vec<String>>) {
        self.blocks.push(Block::Table { columns: columns.into_iter().map(str::to_owned).collect(), rows });
    }

    pub(super) fn picture(&mut self, file: impl Into<String>, says: impl Into<String>) {
        self.blocks.push(Block::Picture { file: file.into(), says: says.into() });
    }

    /// Returns the page as an HTML document that needs nothing but the pictures beside it.
    pub(super) fn to_html(&self) -> String {
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width\">\n<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<h1>{}</h1>\n",
            escaped(&self.title),
            style(),
            escaped(&self.title)
        );
        for block in &self.blocks {
            html += &match block {
                Block::Heading(text) => format!("<h2>{}</h2>\n", escaped(text)),
                Block::Text(text) => format!("<p>{}</p>\n", linked(text)),
                Block::Verbatim(text) => format!("<pre>{}</pre>\n", escaped(text.trim_end())),
                Block::Picture { file, says } => {
                    format!("<p><img src=\"{}\" alt=\"{}\"></p>\n", escaped(file), escaped(says))
                }
                Block::Table { columns, rows } => html_table(columns, rows),
            };
        }
        html + "</body>\n</html>\n"
    }

    /// Returns the page as Markdown, as GitHub shows it.
    pub(super) fn to_markdown(&self) -> String {
        let mut text = format!("# {}\n", marked(&self.title));
        for block in &self.blocks {
            text.push('\n');
            text += &match block {
                Block::Heading(heading) => format!("## {}\n", marked(heading)),
                Block::Text(paragraph) => format!("{}\n", marked(paragraph)),
                Block::Verbatim(lines) => {
                    // A fence longer than any in the text.
                    let fence = "`".repeat(longest_run(lines).max(2) + 1);
                    format!("{fence}text\n{}\n{fence}\n", lines.trim_end())
                }
                Block::Picture { file, says } => format!("![{}]({file})\n", marked(says)),
                Block::Table { columns, rows } => markdown_table(columns, rows),
            };
        }
        text
    }
}

fn style() -> String {
    format!(
        "body {{ font: 15px/1.5 {FONT}; color: {INK}; background: {WHITE}; max-width: 960px; margin: 2em auto; padding: \
         0 1em; }}\nh1, h2 {{ line-height: 1.2; }}\nh2 {{ margin-top: 2em; border-top: 1px solid {LINE}; padding-top: \
         1em; }}\npre {{ background: {PALE_GREY}; padding: 1em; overflow-x: auto; font-size: 12px; line-height: 1.4; \
         }}\nimg {{ max-width: 100%; height: auto; }}\ntable {{ border-collapse: collapse; font-size: 13px; }}\nth {{ \
         color: {MUTED}; text-align: left; font-weight: 600; }}\nth, td {{ padding: 0.25em 1em 0.25em 0; \
         border-bottom: 1px solid {LINE}; vertical-align: top; }}\n.number {{ text-align: right; \
         font-variant-numeric: tabular-nums; white-space: nowrap; }}\n"
    )
}

/// Returns `true` if every cell of a column is a number, perhaps with a unit, or empty.
fn is_numeric(rows: &[Vec<String>], column: usize) -> bool {
    let cells = || rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty());
    cells().next().is_some() && cells().all(|cell| cell.starts_with(|first: char| first.is_ascii_digit()))
}

fn html_table(columns: &[String], rows: &[Vec<String>]) -> String {
    let class = |column| if is_numeric(rows, column) { " class=\"number\"" } else { "" };
    let line = |cells: &[String], tag: &str| {
        let cells = cells.iter().enumerate();
        let cells: String =
            cells.map(|(column, cell)| format!("<{tag}{}>{}</{tag}>", class(column), linked(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let body: String = rows.iter().map(|row| line(row, "td")).collect();
    format!("<table>\n{}{body}</table>\n", line(columns, "th"))
}

fn markdown_table(columns: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| marked(cell).replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<&str> =
        (0..columns.len()).map(|column| if is_numeric(rows, column) { "--:" } else { "---" }).collect();
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{}| {} |\n{body}", line(columns), rule.join(" | "))
}

/// Returns the text for HTML, with addresses as links.
fn linked(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let safe = escaped(word);
        match word.starts_with("https://") {
            true => format!("<a href=\"{safe}\">{safe}</a>"),
            false => safe,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the text for Markdown: no character of it means anything but itself.
fn marked(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        if is_address(word) {
            return word.to_owned();
        }
        let text = efa_core::printable(word);
        let mut safe = String::with_capacity(text.len());
        for letter in text.chars() {
            if matches!(letter, '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '#') {
                safe.push('\\');
            }
            safe.push(if letter == '\n' { ' ' } else { letter });
        }
        safe
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Returns whether a word is an address, which Markdown shows as a link, and holds nothing that ends one.
fn is_address(word: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-._~:/?#@!$&'*+,;=%".contains(letter);
    word.starts_with("https://") && word.chars().all(is_part)
}

/// Returns the most backquotes in a row.
fn longest_run(text: &str) -> usize {
    text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = Page::new("a <title>");
        page.heading("One & two");
        page.text("see https://example.com/a?b=1&c=2 for *more*");
        page.verbatim("```\n<pre>\n```\n");
        page.table(
            ["name", "value"],
            vec![vec!["a|b".into(), "1.5".into()], vec!["<c>".into(), String::new()]],
        );
        page.picture("latency.svg", "latency");
        page
    }

    #[test]
    fn html_has_everything_and_no_text_becomes_markup() {
        let html = page().to_html();
        for part in [
            "<title>a &lt;title&gt;</title>",
            "<h2>One &amp; two</h2>",
            "<a href=\"https://example.com/a?b=1&amp;c=2\">",
            "&lt;pre&gt;",
            "<th class=\"number\">value</th>",
            "<td>&lt;c&gt;</td>",
            "<img src=\"latency.svg\" alt=\"latency\">",
        ] {
            assert!(html.contains(part), "'{part}' is missing in {html}");
        }
    }

    #[test]
    fn what_only_begins_as_an_address_is_text() {
        let shown = marked("https://example.com/a_b https://example.com/<img>|x\n#");
        assert_eq!(shown, "https://example.com/a_b https://example.com/\\<img\\>|x \\#");
    }

    #[test]
    fn markdown_has_everything_and_no_text_becomes_markup() {
        let text = page().to_markdown();
        for part in [
            "# a \\<title\\>\n",
            "## One & two\n",
            "see https://example.com/a?b=1&c=2 for \\*more\\*\n",
            "````text\n```\n<pre>\n```\n````\n",
            "| name | value |\n| --- | --: |\n| a\\|b | 1.5 |\n| \\<c\\> |  |\n",
            "![latency](latency.svg)\n",
        ] {
            assert!(text.contains(part), "'{part}' is missing in {text}");
        }
    }
}
