//! Medians of ratios, and what was promised.

use serde_json::{Value, json};

use super::Path;
use super::load::Reading;

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Connects,
    P50,
    Packets,
}

impl Measure {
    const ALL: [Self; 3] = [Self::Connects, Self::P50, Self::Packets];

    fn of(self, reading: &Reading) -> f64 {
        match self {
            Self::Connects => reading.connects_per_second,
            Self::P50 => reading.p50_us,
            Self::Packets => reading.packets_per_second,
        }
    }

    /// Times are better when they are smaller.
    fn more_is_better(self) -> bool {
        self != Self::P50
    }

    fn title(self) -> &'static str {
        match self {
            Self::Connects => "connects/s",
            Self::P50 => "p50 us",
            Self::Packets => "packets/s",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Connects => "connects_per_second",
            Self::P50 => "request_p50_us",
            Self::Packets => "packets_per_second",
        }
    }
}

/// A limit for the ratio of a path to the bare veth pair.
struct Promise {
    path: &'static str,
    measure: Measure,
    limit: f64,
}

const PROMISES: [Promise; 4] = [
    Promise { path: "hnsd", measure: Measure::Connects, limit: 0.95 },
    Promise { path: "hnsd", measure: Measure::P50, limit: 1.05 },
    Promise { path: "hnsd, rules on both ends", measure: Measure::Connects, limit: 0.93 },
    Promise { path: "hnsd, rules on both ends", measure: Measure::P50, limit: 1.06 },
];

impl Promise {
    fn kept(&self, ratio: f64) -> bool {
        if self.measure.more_is_better() { ratio >= self.limit } else { ratio <= self.limit }
    }
}

/// The middle of some numbers, and between which two the middle half of them lies.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Middle {
    median: f64,
    from: f64,
    to: f64,
}

impl Middle {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        Some(Self { median: values[last.div_ceil(2)], from: values[last / 4], to: values[last - last / 4] })
    }
}

/// All paths; the bare veth pair is the first.
pub struct Table {
    paths: Vec<Path>,
}

impl Table {
    pub fn new(paths: Vec<Path>) -> Self {
        Self { paths }
    }

    #[expect(clippy::print_stdout, reason = "the report is the program's purpose")]
    pub fn print(&self, as_json: bool) {
        if as_json {
            println!("{:#}", self.json());
        } else {
            print!("{}", self.text());
        }
    }

    /// Of each round's ratio to the bare veth pair.
    fn ratio(&self, path: &Path, measure: Measure) -> Option<Middle> {
        let pairs = path.readings.iter().zip(&self.paths.first()?.readings);
        Middle::of(pairs.map(|(one, bare)| measure.of(one) / measure.of(bare)).collect())
    }

    /// The promises with what they came to.
    fn promises(&self) -> impl Iterator<Item = (&'static Promise, Option<f64>)> {
        PROMISES.iter().map(|promise| {
            let path = self.paths.iter().find(|path| path.name == promise.path);
            (promise, path.and_then(|path| self.ratio(path, promise.measure)).map(|ratio| ratio.median))
        })
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "Between two containers of a host; client and server on one processor. A connect is connect, a byte each way and\n\
             close; p50 is of a byte each way. Medians over rounds; x is against the bare veth pair in the same round, with\n\
             the range of the middle half of the rounds.\n\n",
        );
        text += &format!("{:<25}{:>6}", "", "rounds");
        for measure in Measure::ALL {
            text += &format!("{:>12}{:>7}{:>12}", measure.title(), "x", "");
        }
        text.push('\n');
        for path in &self.paths {
            text += &self.row(path);
        }
        text.push('\n');
        for (promise, measured) in self.promises() {
            let word = match measured {
                Some(ratio) if promise.kept(ratio) => "kept  ",
                Some(_) => "MISSED",
                None => "NOT MEASURED",
            };
            let (title, path, limit) = (promise.measure.title(), promise.path, promise.limit);
            let side = if promise.measure.more_is_better() { "at least" } else { "at most" };
            text += &format!(
                "{word}  {path}: {title} against the bare veth pair: {} ({side} {limit})\n",
                shown(measured, 3)
            );
        }
        text
    }

    fn row(&self, path: &Path) -> String {
        let mut row = format!("{:<25}{:>6}", path.name, path.readings.len());
        for measure in Measure::ALL {
            let value = Middle::of(path.readings.iter().map(|reading| measure.of(reading)).collect());
            let digits = if measure.more_is_better() { 0 } else { 2 };
            let ratio = self.ratio(path, measure);
            let spread = ratio.map_or_else(String::new, |ratio| format!("{:.2}-{:.2}", ratio.from, ratio.to));
            let (value, ratio) = (value.map(|value| value.median), ratio.map(|ratio| ratio.median));
            row += &format!("{:>12}{:>7}{:>12}", shown(value, digits), shown(ratio, 3), spread);
        }
        if let Err(error) = &path.line {
            row += &format!("  {error:#}");
        }
        row.push('\n');
        row
    }

    fn json(&self) -> Value {
        let path = |path: &Path| {
            let mut row = json!({"name": path.name, "rounds": path.readings.len()});
            for measure in Measure::ALL {
                let value = Middle::of(path.readings.iter().map(|reading| measure.of(reading)).collect());
                let ratio = self.ratio(path, measure);
                row[measure.key()] = json!({
                    "median": value.map(|value| value.median),
                    "ratio": ratio.map(|ratio| ratio.median),
                    "ratio_middle_half": ratio.map(|ratio| [ratio.from, ratio.to]),
                });
            }
            if let Err(error) = &path.line {
                row["error"] = json!(format!("{error:#}"));
            }
            row
        };
        let promise = |(promise, measured): (&Promise, Option<f64>)| {
            json!({
                "path": promise.path, "measure": promise.measure.key(), "limit": promise.limit,
                "measured": measured, "kept": measured.map(|ratio| promise.kept(ratio)),
            })
        };
        json!({
            "paths": self.paths.iter().map(path).collect::<Vec<_>>(),
            "promises": self.promises().map(promise).collect::<Vec<_>>(),
        })
    }
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &'static str, connects: &[f64]) -> Path {
        let reading = |&connects_per_second: &f64| Reading {
            connects_per_second,
            p50_us: 1e6 / connects_per_second,
            packets_per_second: 1.0,
        };
        let readings = connects.iter().map(reading).collect();
        Path { name, line: Err(anyhow::anyhow!("of a test")), readings }
    }

    #[test]
    fn rounds_are_compared_before_the_median_is_taken() {
        // The machine became slower by half in the second and third rounds: the ratio stays.
        let table =
            Table::new(vec![path("bare veth", &[100.0, 50.0, 50.0]), path("hnsd", &[96.0, 45.0, 48.0])]);
        let kept: Vec<Value> = table.json()["promises"]
            .as_array()
            .unwrap()
            .iter()
            .map(|promise| promise["kept"].clone())
            .collect();
        assert_eq!(kept, [json!(true), json!(true), Value::Null, Value::Null]);
        let text = table.text();
        assert!(
            text.contains("kept    hnsd: connects/s against the bare veth pair: 0.960 (at least 0.95)"),
            "{text}"
        );
        assert!(text.contains("NOT MEASURED"), "{text}");
    }

    #[test]
    fn the_middle_half_of_all_rounds_is_told() {
        let values = [9.0, 1.0, 5.0, 4.0, 6.0, 2.0, 8.0, 3.0, 7.0].to_vec();
        assert_eq!(Middle::of(values), Some(Middle { median: 5.0, from: 3.0, to: 7.0 }));
        assert_eq!(Middle::of(vec![2.0]), Some(Middle { median: 2.0, from: 2.0, to: 2.0 }));
        assert_eq!(Middle::of(Vec::new()), None);
    }
}
