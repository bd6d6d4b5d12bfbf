//! A queue of a test's own, beside the stack's: what is put there wakes nobody but whom the test wakes.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::stack::setting;
use crate::{Gateway, Stack, eventually};

/// ministack asks for no signature, but finds the service and the region in the credential.
fn signed_for(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

#[derive(Debug)]
pub struct Queue {
    endpoint: String,
    url: String,
    http: reqwest::Client,
}

impl Queue {
    /// One whose messages lie there until the test takes them.
    pub async fn start(stack: &Stack) -> Self {
        Self::made(stack, json!({}), 60).await
    }

    /// One that hands its messages over to the worker behind `gateway`, one at a time to each of so many. What a worker
    /// does not answer comes again.
    pub async fn feeding(gateway: &Gateway, workers: usize) -> Self {
        // What dies says nothing, so that it is waited for up to the function's time-out, and hidden as long.
        const TIMEOUT: u32 = 4;
        let name = format!("worker-{}", Uuid::now_v7().simple());
        let worker = json!({
            "Worker": { "Type": "AWS::Lambda::Function", "Properties": {
                "FunctionName": name,
                "Runtime": "provided.al2023",
                "Handler": "bootstrap",
                "Role": "arn:aws:iam::000000000000:role/local",
                "Timeout": TIMEOUT,
                "Code": { "ZipFile": "" },
                "Environment": { "Variables": { "MINISTACK_LAMBDA_PROXY_URL": gateway.stack.invoke_url("worker") } },
            } },
            "JobsToWorker": { "Type": "AWS::Lambda::EventSourceMapping", "Properties": {
                "EventSourceArn": { "Fn::GetAtt": ["Jobs", "Arn"] },
                "FunctionName": { "Ref": "Worker" },
                "BatchSize": 1,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "ScalingConfig": { "MaximumConcurrency": workers },
            } },
        });
        Self::made(&gateway.stack, worker, TIMEOUT).await
    }

    async fn made(stack: &Stack, mut resources: Value, visibility: u32) -> Self {
        let name = format!("jobs-{}", Uuid::now_v7().simple());
        resources["Jobs"] = json!({
            "Type": "AWS::SQS::Queue",
            "Properties": { "QueueName": name, "VisibilityTimeout": visibility },
        });
        let endpoint = setting("AWS_ENDPOINT_URL");
        let queue = Self {
            url: format!("{endpoint}/000000000000/{name}"),
            endpoint,
            http: stack.http.clone(),
        };
        let template = json!({ "Resources": resources }).to_string();
        queue
            .cloudformation("CreateStack", &name, &[("TemplateBody", &template)])
            .await;
        eventually("a queue of one's own", async || {
            let answer = queue.cloudformation("DescribeStacks", &name, &[]).await;
            assert!(!answer.contains("ROLLBACK") && !answer.contains("FAILED"), "{answer}");
            answer.contains("CREATE_COMPLETE<").then_some(())
        })
        .await;
        queue
    }

    /// The stack's own, which feeds its worker.
    #[must_use]
    pub fn of_the_stack(stack: &Stack) -> Self {
        Self {
            url: setting("SQS_QUEUE_URL"),
            endpoint: setting("AWS_ENDPOINT_URL"),
            http: stack.http.clone(),
        }
    }

    /// Puts a message there as an agent does.
    pub async fn send(&self, body: &str) {
        self.sqs("SendMessage", json!({ "MessageBody": body })).await;
    }

    /// How many messages are being worked on, or wait to come again.
    pub async fn hidden(&self) -> u32 {
        let names = json!({ "AttributeNames": ["ApproximateNumberOfMessagesNotVisible"] });
        let answer = self.sqs("GetQueueAttributes", names).await;
        let hidden = &answer["Attributes"]["ApproximateNumberOfMessagesNotVisible"];
        hidden.as_str().unwrap().parse().unwrap()
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a function must be told to use it.
    #[must_use]
    pub fn setting(&self) -> (&'static str, &str) {
        ("SQS_QUEUE_URL", &self.url)
    }

    /// The bodies of the messages that are due; they are not there any more.
    pub async fn take(&self) -> Vec<String> {
        let messages = self.take_whole().await;
        let body = |message: Value| message["Body"].as_str().unwrap().to_owned();
        messages.into_iter().map(body).collect()
    }

    /// The same, with their attributes.
    pub async fn take_whole(&self) -> Vec<Value> {
        let mut taken = Vec::new();
        loop {
            let asked =
                json!({ "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"], "AttributeNames": ["All"] });
            let received = self.sqs("ReceiveMessage", asked).await;
            let messages = received["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() {
                return taken;
            }
            for message in messages {
                self.sqs("DeleteMessage", json!({ "ReceiptHandle": message["ReceiptHandle"] }))
                    .await;
                taken.push(message);
            }
        }
    }

    async fn sqs(&self, action: &str, mut parameters: Value) -> Value {
        parameters["QueueUrl"] = json!(self.url);
        let request = self
            .http
            .post(&self.endpoint)
            .header("authorization", signed_for("sqs"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{action}"))
            .body(parameters.to_string());
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{action}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn cloudformation(&self, action: &str, name: &str, parameters: &[(&str, &str)]) -> String {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("Action", action), ("StackName", name), ("Version", "2010-05-15")])
            .extend_pairs(parameters)
            .finish();
        let request = self
            .http
            .post(&self.endpoint)
            .header("authorization", signed_for("cloudformation"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{action}: {status}: {text}");
        text
    }
}
