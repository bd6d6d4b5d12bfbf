use serde_json::{Value, json};

use super::*;
use fakes::{Act, Fake, nobody, response};

fn client(url: &str) -> Client {
    Client::new(&aws::at(url))
}

fn answering(status: &str, body: &Value) -> Fake {
    Fake::always(response(
        status,
        &["content-type: application/x-amz-json-1.1"],
        &body.to_string(),
    ))
}

async fn read_from(fake: &Fake, names: &[&str]) -> Result<BTreeMap<String, Secret>, ParameterError> {
    read(&client(&fake.url()), &names.iter().copied().collect()).await
}

#[tokio::test]
async fn values_come_decrypted_by_name() {
    let fake = answering(
        "200 OK",
        &json!({"Parameters": [{"Name": "/b", "Type": "SecureString", "Value": "two"}, {"Name": "/a", "Value": "one"}]}),
    );
    let values = read_from(&fake, &["/a", "/b"]).await.unwrap();
    assert_eq!(values["/a"].expose(), "one");
    assert_eq!(values["/b"].expose(), "two");
    let seen = fake.seen().remove(0);
    assert!(
        seen.head.contains("x-amz-target: amazonssm.getparameters\r\n"),
        "{}",
        seen.head
    );
    assert_eq!(seen.body, json!({"Names": ["/a", "/b"], "WithDecryption": true}));
}

#[tokio::test]
async fn more_than_ten_take_more_calls() {
    let names: Vec<_> = (0..11).map(|number| format!("/{number:02}")).collect();
    let all: Vec<_> = names.iter().map(|name| json!({"Name": name, "Value": "v"})).collect();
    let fake = answering("200 OK", &json!({"Parameters": all}));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(read_from(&fake, &names).await.unwrap().len(), 11);
    let asked: Vec<_> = fake
        .seen()
        .iter()
        .map(|seen| seen.body["Names"].as_array().unwrap().len())
        .collect();
    assert_eq!(asked, [10, 1]);
}

#[tokio::test]
async fn what_is_not_there_is_named_and_values_are_not() {
    let fake = answering(
        "200 OK",
        &json!({"Parameters": [{"Name": "/a", "Value": "very-secret"}], "InvalidParameters": ["/b", "/c"]}),
    );
    let error = read_from(&fake, &["/a", "/b", "/c"]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "/b, /c cannot be read from SSM: there is no such parameter"
    );
    assert!(!format!("{error:?}").contains("very-secret"));
}

#[tokio::test]
async fn a_refusal_names_the_parameters_and_the_reason() {
    let fake = answering(
        "400 Bad Request",
        &json!({"__type": "AccessDeniedException", "message": "arn:aws:iam::1:role/x is not authorized"}),
    );
    let error = read_from(&fake, &["/a"]).await.unwrap_err();
    assert_eq!(error.to_string(), "/a cannot be read from SSM: AccessDeniedException");
    let error = read(&client(&nobody()), &BTreeSet::from(["/a"]))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/a cannot be read from SSM: ") && error.contains("refused"),
        "{error}"
    );
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_not_waited_for_long() {
    let fake = Fake::always(vec![Act::Hang]);
    let patience = Duration::from_millis(200);
    let error = read_within(patience, &client(&fake.url()), &BTreeSet::from(["/a"]))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "/a cannot be read from SSM: no answer in time");
}

fn owned(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    variables.iter().map(owned).collect()
}

fn variables(of: &[(&str, &str)]) -> Variables {
    Variables::with_settings(owned(of)).unwrap()
}

#[tokio::test]
async fn variables_that_say_where_their_value_is_kept_get_it() {
    let fake = answering(
        "200 OK",
        &json!({"Parameters": [{"Name": "/site/database", "Value": "postgres://hunter2"}]}),
    );
    let mut variables = variables(&[
        ("DATABASE_URL", "ssm:/site/database"),
        ("DATABASE_READ_URL", "ssm:/site/database"),
        ("JWT_SECRET", "plain ssm:/not"),
    ]);
    let kept = variables.kept().unwrap();
    variables.fill(&client(&fake.url()), kept).await.unwrap();
    let read = |name: &str| variables.read(|env| env.optional(name));
    for (name, value) in [
        ("DATABASE_URL", "postgres://hunter2"),
        ("DATABASE_READ_URL", "postgres://hunter2"),
        ("JWT_SECRET", "plain ssm:/not"),
    ] {
        assert_eq!(read(name).as_deref(), Some(value));
    }
    assert_eq!(fake.seen().len(), 1, "one parameter is asked for once");
    assert!(!format!("{variables:?}").contains("hunter2"));
    assert!(variables.kept().unwrap().is_empty());
}

#[test]
fn a_name_that_cannot_be_one_is_told_with_its_variable() {
    for odd in ["ssm:", "ssm:name", "ssm:/a b"] {
        let error = variables(&[("MODEL_KEY", odd)]).kept().unwrap_err().to_string();
        assert!(error.starts_with("MODEL_KEY begins with \"ssm:\""), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_kept_there_is_an_error_that_names_it() {
    let fake = answering("200 OK", &json!({"Parameters": []}));
    let mut variables = variables(&[("JWT_SECRET", "ssm:/site/jwt")]);
    let kept = variables.kept().unwrap();
    let error = variables.fill(&client(&fake.url()), kept).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "/site/jwt cannot be read from SSM: there is no such parameter"
    );
}

fn with_settings(settings: &str, others: &[(&str, &str)]) -> Result<Variables, ConfigError> {
    Variables::with_settings(owned(&[others, &[("SETTINGS", settings)]].concat()))
}

#[test]
fn one_variable_can_hold_others_and_a_name_in_it_that_is_none_is_told() {
    let variables = with_settings(
        r#"{"BUDGET_PERIOD": "day", "MAX_MEMBERS": 20, "MAX_MEMBRES": 30, "A_KEY": "ssm:/a/key"}"#,
        &[("STREAM_SECONDS", "10"), ("MAX_MEMBERS", " ")],
    )
    .unwrap();
    assert_eq!(variables.kept().unwrap()["A_KEY"], "/a/key");
    for (name, value) in [
        ("BUDGET_PERIOD", "day"),
        ("MAX_MEMBERS", "20"),
        ("STREAM_SECONDS", "10"),
    ] {
        assert_eq!(variables.read(|env| env.optional(name)).as_deref(), Some(value));
    }
    let known = ["BUDGET_PERIOD", "MAX_MEMBERS"];
    assert_eq!(
        variables.refuse_unknown(&known).unwrap_err().to_string(),
        "SETTINGS names A_KEY, which is no setting."
    );
    let overrides = ("MODEL_OVERRIDES", r#"[{"organisation": "a", "key": "env:A_KEY"}]"#);
    let refers = with_settings(r#"{"A_KEY": "k", "MAX_MEMBRES": 30}"#, &[overrides]).unwrap();
    assert_eq!(
        refers.refuse_unknown(&known).unwrap_err().to_string(),
        "SETTINGS names MAX_MEMBRES, which is no setting."
    );
    assert!(with_settings(" ", &[]).unwrap().refuse_unknown(&[]).is_ok());
}

#[test]
fn what_cannot_be_read_from_settings_or_is_said_twice_is_named_and_values_are_not() {
    for (settings, says) in [
        (r#"{"A": "hush""#, "SETTINGS is not an object"),
        (r#"["hush"]"#, "SETTINGS is not an object"),
        (r#"{"A": ["hush"]}"#, "SETTINGS has a A that is no text and no number"),
        (r#"{"MAX_MEMBERS": 20}"#, "MAX_MEMBERS is set by itself and in SETTINGS"),
    ] {
        let error = with_settings(settings, &[("MAX_MEMBERS", "30")])
            .unwrap_err()
            .to_string();
        assert!(error.contains(says) && !error.contains("hush"), "{error}");
    }
}
