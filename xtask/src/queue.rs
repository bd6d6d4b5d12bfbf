//! SQS, S3, the event source mapping and the schedule: ministack, given one CloudFormation template.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::instance::{Instance, repository};
use crate::ministack;
use crate::overrides::Overrides;
use crate::supervise::{Supervisor, until};

const BUCKET: &str = "backtalk-attachments";
const REGION: &str = "us-east-1";
const QUEUE: &str = "backtalk-jobs";
/// Six times what one batch may take, as AWS advises, would be long to wait for at a desk. What is handed over once more
/// meanwhile finds its job claimed.
const VISIBILITY_SECONDS: u32 = 60;
/// ministack asks for no signature, but finds the service and the region in the credential.
const CLOUDFORMATION: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/cloudformation/aws4_request, \
                              SignedHeaders=host, Signature=0";

/// What the functions and the caller need to reach the queue.
pub(crate) type Settings = BTreeMap<String, String>;

/// Starts the queue, which hands its messages to the worker at `invoke_url`.
pub(crate) async fn start(
    instance: &mut Instance,
    supervisor: &Supervisor,
    http: &reqwest::Client,
    invoke_url: &str,
    worker_processes: usize,
) -> Result<Settings> {
    let endpoint = ministack::start(instance, supervisor, http, "queue", None).await?;
    let visibility = match std::env::var("QUEUE_VISIBILITY") {
        Ok(text) => text.parse().context("QUEUE_VISIBILITY is not a number of seconds")?,
        Err(_) => VISIBILITY_SECONDS,
    };
    let deployed = std::fs::read_to_string(repository().join("template.yaml")).context("template.yaml")?;
    let template = template(invoke_url, visibility, worker_processes, &deployed)?;
    create(http, &endpoint, &template.to_string()).await?;
    Ok([
        ("ATTACHMENTS_BUCKET", BUCKET),
        ("SQS_QUEUE_URL", &*format!("{endpoint}/000000000000/{QUEUE}")),
        (
            "SQS_DEAD_LETTER_QUEUE_URL",
            &*format!("{endpoint}/000000000000/{QUEUE}-dead"),
        ),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_REGION", REGION),
        // By which the AWS CLI goes.
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into())
}

/// Somebody else's queue, with somebody else's credentials.
pub(crate) fn replaced(overrides: &Overrides) -> Result<Option<Settings>> {
    match (overrides.get("SQS_QUEUE_URL"), overrides.get("AWS_ENDPOINT_URL")) {
        (None, None) => Ok(None),
        (None, Some(_)) => bail!("AWS_ENDPOINT_URL is set without SQS_QUEUE_URL: set both, or neither"),
        (Some(url), endpoint) => {
            let mut settings = overrides.starting_with("AWS_");
            let region = settings.entry("AWS_REGION".into()).or_insert_with(|| REGION.into());
            let region = region.clone();
            settings.entry("AWS_DEFAULT_REGION".into()).or_insert(region);
            settings.insert("SQS_QUEUE_URL".into(), url.into());
            settings.extend(endpoint.map(|endpoint| ("AWS_ENDPOINT_URL".into(), endpoint.into())));
            Ok(Some(settings))
        }
    }
}

async fn create(http: &reqwest::Client, endpoint: &str, template: &str) -> Result<()> {
    ask(
        http,
        endpoint,
        &[
            ("Action", "CreateStack"),
            ("StackName", "backtalk"),
            ("TemplateBody", template),
        ],
    )
    .await?;
    let mut answer = String::new();
    until("the queue is not made", Duration::from_secs(30), async || {
        let described = ask(
            http,
            endpoint,
            &[("Action", "DescribeStacks"), ("StackName", "backtalk")],
        )
        .await;
        answer = described.unwrap_or_else(|error| format!("{error:#}"));
        ["CREATE_COMPLETE<", "ROLLBACK", "FAILED"]
            .iter()
            .any(|status| answer.contains(status))
    })
    .await?;
    if !answer.contains("CREATE_COMPLETE<") || answer.contains("ROLLBACK") {
        bail!("the queue is not made: {answer}");
    }
    Ok(())
}

/// One call of AWS's query protocol.
async fn ask(http: &reqwest::Client, endpoint: &str, parameters: &[(&str, &str)]) -> Result<String> {
    let parameters = [parameters, &[("Version", "2010-05-15")]].concat();
    let pairs = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    let request = http
        .post(endpoint)
        .header("authorization", CLOUDFORMATION)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(pairs.collect::<Vec<_>>().join("&"));
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    anyhow::ensure!(status.is_success(), "{status}: {text}");
    Ok(text)
}

/// For a form: everything but letters and digits.
fn encoded(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(byte).collect()
}

/// How many seconds a function may take, as template.yaml says.
fn seconds_of(deployed: &str, function: &str) -> Result<u32> {
    let begin = format!("\n  {function}:\n    Type: AWS::Serverless::Function\n");
    let (_, rest) = deployed.split_once(&begin).with_context(|| format!("no {function}"))?;
    let mut lines = rest.lines().take_while(|line| line.starts_with("    "));
    let seconds = lines.find_map(|line| line.strip_prefix("      Timeout: "));
    let seconds = seconds.with_context(|| format!("{function} has no Timeout"))?;
    seconds
        .parse()
        .with_context(|| format!("{function} may take {seconds:?}"))
}

/// As on AWS, but for the functions, which are elsewhere. `deployed`: template.yaml.
fn template(invoke_url: &str, visibility: u32, worker_processes: usize, deployed: &str) -> Result<serde_json::Value> {
    let function = |name: &str, seconds: u32| {
        json!({ "Type": "AWS::Lambda::Function", "Properties": {
            "FunctionName": name,
            "Runtime": "provided.al2023",
            "Handler": "bootstrap",
            "Role": "arn:aws:iam::000000000000:role/local",
            "Timeout": seconds,
            "Code": { "ZipFile": "" },
            "Environment": { "Variables": {
                "MINISTACK_LAMBDA_PROXY_URL": format!("{invoke_url}/{name}/invocations"),
            } },
        } })
    };
    Ok(json!({ "Resources": {
        "DeadJobs": { "Type": "AWS::SQS::Queue", "Properties": { "QueueName": format!("{QUEUE}-dead") } },
        "Jobs": { "Type": "AWS::SQS::Queue", "Properties": {
            "QueueName": QUEUE,
            "VisibilityTimeout": visibility,
            "RedrivePolicy": { "deadLetterTargetArn": { "Fn::GetAtt": ["DeadJobs", "Arn"] }, "maxReceiveCount": 5 },
        } },
        "Attachments": { "Type": "AWS::S3::Bucket", "Properties": {
            "BucketName": BUCKET,
            "CorsConfiguration": { "CorsRules": [{
                "AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["content-type", "if-none-match"], "MaxAge": 600,
            }] },
        } },
        "Worker": function("worker", seconds_of(deployed, "Worker")?),
        "Sweeper": function("sweeper", seconds_of(deployed, "Sweeper")?),
        "JobsToWorker": { "Type": "AWS::Lambda::EventSourceMapping", "Properties": {
            "EventSourceArn": { "Fn::GetAtt": ["Jobs", "Arn"] },
            "FunctionName": { "Ref": "Worker" },
            "BatchSize": 10,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            // More batches at once than there are workers would wait where no time-out is counted.
            "ScalingConfig": { "MaximumConcurrency": worker_processes.max(2) },
        } },
        "EveryMinute": { "Type": "AWS::Events::Rule", "Properties": {
            "ScheduleExpression": "rate(1 minute)",
            "State": "ENABLED",
            "Targets": [{ "Id": "sweeper", "Arn": { "Fn::GetAtt": ["Sweeper", "Arn"] } }],
        } },
    } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_function_has_the_time_of_the_deployed_one() {
        let deployed = std::fs::read_to_string(repository().join("template.yaml")).expect("the template");
        let made = template("http://here", VISIBILITY_SECONDS, 2, &deployed).expect("a template");
        let seconds = |name: &str| made["Resources"][name]["Properties"]["Timeout"].as_u64();
        assert_eq!((seconds("Worker"), seconds("Sweeper")), (Some(300), Some(55)));

        let (before, worker) = deployed.split_once("\n  Worker:").expect("the worker");
        let worker = worker.replacen("      Timeout: 300", "      Timeout: 400", 1);
        let longer = format!("{before}\n  Worker:{worker}");
        let seconds_of_longer = seconds_of(&longer, "Worker").expect("a number");
        assert_eq!(seconds_of_longer, 400);
        assert!(seconds_of(&deployed, "Nobody").is_err());
        assert!(seconds_of(&deployed, "GetMe").is_err());
    }
}
