//! `docs/reference/errors.md` is written from the codes themselves. `HNS_BLESS=1` writes it anew.

use std::fmt::Write;
use std::path::Path;

use hns_hcn::ErrorCode;

#[test]
fn the_reference_lists_every_error_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/errors.md");
    let expected = reference();
    if std::env::var_os("HNS_BLESS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "run this test with HNS_BLESS=1 to write {}", path.display());
}

#[expect(clippy::unwrap_used, reason = "writing into a string cannot fail")]
fn reference() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         Every refusal is a document beside an HTTP status that says the same:\n\n\
         ```json\n\
         {\"Success\":false,\"Error\":\"host port 8080/tcp is taken by endpoint 1F0E.. \\\"web\\\"\",\"ErrorCode\":2151350291,\n \
         \"Hint\":\"choose another host port, or 0 to be given a free one\"}\n\
         ```\n\n\
         `ErrorCode` is the HRESULT as an unsigned 32-bit number, as HNS gives it. Names and numbers are those of Microsoft's\n\
         public HCN reference (`HCNHResult`); the 0x8xxx ones below the line of facility 0x3b are Windows' general codes.\n\n\
         | Code | Number | Name | Meaning |\n|---|---|---|---|\n",
    );
    for (code, name, meaning) in ErrorCode::ALL {
        writeln!(page, "| `{code}` | {} | {name} | {meaning} |", code.0).unwrap();
    }
    page
}
