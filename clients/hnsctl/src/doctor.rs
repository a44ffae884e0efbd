use serde_json::Value;

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::{self, Format, Rows};
use crate::view;

pub async fn run(context: &Context) -> Result<(), Failure> {
    let findings = context.client.doctor().await?;
    output::show(context.format, &findings, |format| rows(format, &findings))?;
    match findings.iter().filter(|finding| view::text(finding, "Level") == "Problem").count() {
        0 => Ok(()),
        count => Err(Failure::ProblemsFound { count }),
    }
}

/// What is wrong stands on the lines below what was looked at, so that long sentences do not widen the table.
fn rows(format: Format, findings: &[Value]) -> Rows {
    let mut rows = Rows::new(format, &["LEVEL", "CHECK", "DETAIL"], &[]);
    for finding in findings {
        let level = view::text(finding, "Level");
        let hint = Some(view::text(finding, "Hint")).filter(|hint| !hint.is_empty() && level != "Ok");
        let cells = [level, view::text(finding, "Check"), view::text(finding, "Detail")];
        rows.push(cells.map(str::to_owned).to_vec(), Vec::new());
        if let Some(hint) = hint {
            rows.add_below(&format!("hint: {hint}"));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hints_stand_below_what_they_help_with() {
        let findings = [
            json!({"Check": "forwarding", "Level": "Ok", "Detail": "net.ipv4.ip_forward is 1", "Hint": ""}),
            json!({"Check": "foreign rules", "Level": "Problem",
                "Detail": "table ip filter, chain FORWARD drops what hns8a9b0c1d forwards",
                "Hint": "add an accept rule for hns* to DOCKER-USER"}),
        ];
        insta::assert_snapshot!(rows(Format::Table, &findings).to_string(), @"
        LEVEL    CHECK          DETAIL
        Ok       forwarding     net.ipv4.ip_forward is 1
        Problem  foreign rules  table ip filter, chain FORWARD drops what hns8a9b0c1d forwards
                                hint: add an accept rule for hns* to DOCKER-USER
        ");
    }
}
