//! Medians of ratios, and what was promised.

use serde_json::{Value, json};

use super::load::Reading;
use super::{Course, Path, Race};

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
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

/// A limit for the ratio of one path to another of its course.
pub struct Promise {
    pub course: &'static str,
    pub path: &'static str,
    pub against: &'static str,
    pub measure: Measure,
    pub limit: f64,
}

impl Promise {
    fn kept(&self, ratio: f64) -> bool {
        if self.measure.more_is_better() { ratio >= self.limit } else { ratio <= self.limit }
    }

    fn text(&self, measured: Option<f64>) -> String {
        let word = match measured {
            Some(ratio) if self.kept(ratio) => "kept  ",
            Some(_) => "MISSED",
            None => "NOT MEASURED",
        };
        let Self { course, path, against, limit, .. } = self;
        let side = if self.measure.more_is_better() { "at least" } else { "at most" };
        let (title, measured) = (self.measure.title(), shown(measured, 3));
        format!("{word}  {course}, {path}: {title} against {against}: {measured} ({side} {limit})\n")
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

/// Of each round's ratio.
fn ratio(path: &Path, against: &Path, measure: Measure) -> Option<Middle> {
    let rounds = path.readings.iter().zip(&against.readings);
    Middle::of(rounds.map(|(one, other)| measure.of(one) / measure.of(other)).collect())
}

impl Race {
    #[expect(clippy::print_stdout, reason = "the report is the program's purpose")]
    pub(super) fn print(&self, as_json: bool) {
        if as_json {
            println!("{:#}", self.json());
        } else {
            print!("{}", self.text());
        }
    }

    /// The promises with what they came to.
    fn promises(&self) -> impl Iterator<Item = (&'static Promise, Option<f64>)> {
        self.promises.iter().map(|promise| {
            let course = self.courses.iter().find(|course| course.name == promise.course);
            let path = |name| course.and_then(|course| course.paths.iter().find(|path| path.name == name));
            let both = path(promise.path).zip(path(promise.against));
            let measured = both.and_then(|(path, against)| ratio(path, against, promise.measure));
            (promise, measured.map(|ratio| ratio.median))
        })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}.\n\
             Client and server are on one processor. A connect is connect, a byte each way and close; p50 is of a byte each way.\n\
             Medians over rounds; x is against the first path in the same round, with the range of the middle half of the\n\
             rounds.\n\n",
            self.headline
        );
        for course in &self.courses {
            text += &course.text();
            text.push('\n');
        }
        for (promise, measured) in self.promises() {
            text += &promise.text(measured);
        }
        text
    }

    fn json(&self) -> Value {
        let promise = |(promise, measured): (&Promise, Option<f64>)| {
            json!({
                "course": promise.course, "path": promise.path, "against": promise.against,
                "measure": promise.measure.key(), "limit": promise.limit,
                "measured": measured, "kept": measured.map(|ratio| promise.kept(ratio)),
            })
        };
        json!({
            "paths": self.courses.iter().flat_map(Course::json).collect::<Vec<_>>(),
            "promises": self.promises().map(promise).collect::<Vec<_>>(),
        })
    }
}

impl Course {
    /// Of each round's ratio to the first path.
    fn ratio(&self, path: &Path, measure: Measure) -> Option<Middle> {
        ratio(path, self.paths.first()?, measure)
    }

    fn text(&self) -> String {
        let mut text = format!("{:<25}{:>6}", self.name, "rounds");
        for measure in Measure::ALL {
            text += &format!("{:>12}{:>7}{:>12}", measure.title(), "x", "");
        }
        text.push('\n');
        for path in &self.paths {
            text += &self.row(path);
        }
        text
    }

    fn row(&self, path: &Path) -> String {
        let mut row = format!("{:<25}{:>6}", path.name, path.readings.len());
        for measure in Measure::ALL {
            let value = path.middle(measure);
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

    fn json(&self) -> impl Iterator<Item = Value> {
        self.paths.iter().map(|path| {
            let mut row = json!({"course": self.name, "name": path.name, "rounds": path.readings.len()});
            for measure in Measure::ALL {
                let ratio = self.ratio(path, measure);
                row[measure.key()] = json!({
                    "median": path.middle(measure).map(|value| value.median),
                    "ratio": ratio.map(|ratio| ratio.median),
                    "ratio_middle_half": ratio.map(|ratio| [ratio.from, ratio.to]),
                });
            }
            if let Err(error) = &path.line {
                row["error"] = json!(format!("{error:#}"));
            }
            row
        })
    }
}

impl Path {
    fn middle(&self, measure: Measure) -> Option<Middle> {
        Middle::of(self.readings.iter().map(|reading| measure.of(reading)).collect())
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

    fn kept(race: &Race) -> Vec<Value> {
        let document = race.json();
        document["promises"].as_array().unwrap().iter().map(|promise| promise["kept"].clone()).collect()
    }

    const fn promise(path: &'static str, against: &'static str, measure: Measure, limit: f64) -> Promise {
        Promise { course: "there", path, against, measure, limit }
    }

    #[test]
    fn rounds_are_compared_before_the_median_is_taken() {
        // The machine became slower by half in the second and third rounds: the ratio stays.
        let paths = vec![path("bare veth", &[100.0, 50.0, 50.0]), path("hnsd", &[96.0, 45.0, 48.0])];
        let promises = &const {
            [
                promise("hnsd", "bare veth", Measure::Connects, 0.95),
                promise("hnsd", "bare veth", Measure::P50, 1.05),
                promise("hnsd with rules", "bare veth", Measure::Connects, 0.93),
            ]
        };
        let race = Race { headline: "Between two", courses: vec![Course { name: "there", paths }], promises };
        assert_eq!(kept(&race), [json!(true), json!(true), Value::Null]);
        let text = race.text();
        assert!(
            text.contains("kept    there, hnsd: connects/s against bare veth: 0.960 (at least 0.95)"),
            "{text}"
        );
        assert!(text.contains("NOT MEASURED") && text.starts_with("Between two.\nClient"), "{text}");
    }

    #[test]
    fn a_promise_is_about_two_paths_of_one_course() {
        let back = vec![path("host", &[10.0]), path("macvlan", &[9.0]), path("hnsd", &[2.0])];
        let there = vec![path("host", &[100.0]), path("macvlan", &[80.0]), path("hnsd", &[76.0])];
        let promises = &const {
            [
                promise("hnsd", "macvlan", Measure::Connects, 0.95),
                promise("hnsd", "macvlan", Measure::Connects, 0.96),
                promise("hnsd", "macvlan", Measure::P50, 1.06),
                promise("hnsd", "macvlan", Measure::P50, 1.05),
                promise("hnsd", "host", Measure::Connects, 0.77),
            ]
        };
        let courses = vec![Course { name: "back", paths: back }, Course { name: "there", paths: there }];
        let race = Race { headline: "Both ways", courses, promises };
        assert_eq!(kept(&race), [true, false, true, false, false].map(Value::from));
        // The table compares each path with the first of its own course.
        let ratios = |document: &Value| {
            let rows = document["paths"].as_array().unwrap().clone();
            rows.iter().map(|row| row["connects_per_second"]["ratio"].as_f64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(ratios(&race.json()), [1.0, 0.9, 0.2, 1.0, 0.8, 0.76]);
    }

    #[test]
    fn the_middle_half_of_all_rounds_is_told() {
        let values = [9.0, 1.0, 5.0, 4.0, 6.0, 2.0, 8.0, 3.0, 7.0].to_vec();
        assert_eq!(Middle::of(values), Some(Middle { median: 5.0, from: 3.0, to: 7.0 }));
        assert_eq!(Middle::of(vec![2.0]), Some(Middle { median: 2.0, from: 2.0, to: 2.0 }));
        assert_eq!(Middle::of(Vec::new()), None);
    }
}
