use std::time::UNIX_EPOCH;

use aws_credential_types::Credentials;
use aws_types::region::Region;
use fakes::{Act, Fake, nobody, response};

use super::*;

fn refused(status: &str, body: &str) -> Vec<Act> {
    response(status, &[], body)
}

fn request(at: &str) -> Request<Bytes> {
    Request::post(at).body(Bytes::from_static(b"{}")).unwrap()
}

async fn sent(fake: &Fake) -> Result<Response, Error> {
    Service::new(&crate::at(&fake.url()), "ssm")
        .send(&request(&fake.url()))
        .await
}

#[tokio::test]
async fn a_request_is_signed_and_sent_with_its_body() {
    let fake = Fake::always(response("200 OK", &[], "{}"));
    sent(&fake).await.unwrap();
    let seen = fake.seen().remove(0);
    let signed = "authorization: aws4-hmac-sha256 credential=test/";
    assert!(seen.head.contains(signed), "{}", seen.head);
    assert!(seen.head.contains("/us-east-1/ssm/aws4_request"), "{}", seen.head);
    assert_eq!(seen.body, serde_json::json!({}));
}

#[tokio::test]
async fn what_may_pass_is_tried_twice_and_what_may_not_once() {
    for (status, body, code, times) in [
        ("503 Slow Down", "<Error><Code>SlowDown</Code></Error>", "SlowDown", 2),
        (
            "400 Bad Request",
            r#"{"__type":"ThrottlingException"}"#,
            "ThrottlingException",
            2,
        ),
        ("429 Too Many Requests", "", "429", 2),
        (
            "400 Bad Request",
            r#"{"__type": "com.amazonaws.ssm#AccessDeniedException", "message": "no"}"#,
            "AccessDeniedException",
            1,
        ),
        ("404 Not Found", "", "404", 1),
    ] {
        let fake = Fake::always(refused(status, body));
        let error = sent(&fake).await.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), fake.seen().len()),
            (code, times),
            "{status}"
        );
    }
    let error = Service::new(&crate::at(&nobody()), "ssm")
        .send(&request(&nobody()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Lost(_)), "{error:?}");
}

/// The example of <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>, with its outcome.
#[tokio::test]
async fn an_address_is_signed_as_amazon_says() {
    let aws = SdkConfig::builder()
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            None,
            None,
            "test",
        )))
        .build();
    let request = Request::get("https://examplebucket.s3.amazonaws.com/test.txt")
        .body(())
        .unwrap();
    let at = UNIX_EPOCH + Duration::from_secs(1_369_353_600);
    let url = Service::new(&aws, "s3")
        .presigned(request, at, Duration::from_secs(86_400))
        .await
        .unwrap();
    let signature = "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    assert!(url.contains(signature), "{url}");
}
