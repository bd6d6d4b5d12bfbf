//! SQS, S3, the event source mapping and the schedule: ministack, given one CloudFormation template.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::instance::Instance;
use crate::ministack;
use crate::overrides::Overrides;
use crate::supervise::{Supervisor, until};

const BUCKET: &str = "backtalk-attachments";
const REGION: &str = "us-east-1";
const QUEUE: &str = "backtalk-jobs";
/// Six times what one batch may take, as AWS advises, would be long to wait for at a desk.
const VISIBILITY_SECONDS: u32 = 60;
/// What the mapping waits for one batch.
const WORKER_SECONDS: u32 = 60;
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
    create(
        http,
        &endpoint,
        &template(invoke_url, visibility, worker_processes).to_string(),
    )
    .await?;
    Ok([
        ("ATTACHMENTS_BUCKET", BUCKET),
        ("SQS_QUEUE_URL", &*format!("{endpoint}/000000000000/{QUEUE}")),
        (
            "SQS_DEAD_LETTER_QUEUE_URL",
            &*format!("{endpoint}/000000000000/{QUEUE}-dead"),
        ),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_REGION", REGION),
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
            settings.entry("AWS_REGION".into()).or_insert_with(|| REGION.into());
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

/// As on AWS, but for the functions, which are elsewhere.
fn template(invoke_url: &str, visibility: u32, worker_processes: usize) -> serde_json::Value {
    let function = |name: &str| {
        json!({ "Type": "AWS::Lambda::Function", "Properties": {
            "FunctionName": name,
            "Runtime": "provided.al2023",
            "Handler": "bootstrap",
            "Role": "arn:aws:iam::000000000000:role/local",
            "Timeout": WORKER_SECONDS,
            "Code": { "ZipFile": "" },
            "Environment": { "Variables": {
                "MINISTACK_LAMBDA_PROXY_URL": format!("{invoke_url}/{name}/invocations"),
            } },
        } })
    };
    json!({ "Resources": {
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
        "Worker": function("worker"),
        "Sweeper": function("sweeper"),
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
    } })
}
