//! `hnsctl endpoint check`: whether containers have left their ends as they were given.

use hns_client::Kind;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::{self, Format, Rows};
use crate::view;

pub async fn run(context: &Context, references: &[String]) -> Result<(), Failure> {
    let mut checked = Vec::with_capacity(references.len());
    for reference in references {
        let id = context.client.find_id(Kind::Endpoint, reference).await?;
        let mut answer = context.client.check_endpoint(&id).await?;
        // What it was called on the command line, to tell several apart.
        answer["Name"] = json!(reference);
        checked.push(answer);
    }
    output::show(context.format, &checked, |format| rows(format, &checked))?;
    match checked.iter().filter(|answer| !view::list(answer, "Differences").is_empty()).count() {
        0 => Ok(()),
        count => Err(Failure::NotAsTheyShouldBe { count }),
    }
}

/// A line for each difference; an endpoint without any has one that says so.
fn rows(format: Format, checked: &[Value]) -> Rows {
    let mut rows = Rows::new(format, &["NAME", "DIFFERENCE"], &["ID"]);
    for answer in checked {
        let (name, id) = (view::text(answer, "Name"), view::text(answer, "EndpointId"));
        let mut details: Vec<&str> =
            view::list(answer, "Differences").iter().map(|one| view::text(one, "Detail")).collect();
        if details.is_empty() {
            details.push("none");
        }
        for detail in details {
            rows.push(vec![name.to_owned(), detail.to_owned()], vec![id.to_owned()]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_has_a_line_of_its_own() {
        let checked = [
            json!({"Name": "web", "EndpointId": "1F0E", "Differences": [
                {"Property": "Up", "Detail": "eth0 is down"},
                {"Property": "Mtu", "Detail": "eth0 has MTU 1400, not 1500"}]}),
            json!({"Name": "db", "EndpointId": "2F0E", "Differences": []}),
        ];
        insta::assert_snapshot!(rows(Format::Wide, &checked).to_string(), @"
        NAME  DIFFERENCE                   ID
        web   eth0 is down                 1F0E
        web   eth0 has MTU 1400, not 1500  1F0E
        db    none                         2F0E
        ");
    }
}
