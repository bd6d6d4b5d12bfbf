use std::collections::BTreeMap;

use aws_types::region::Region;

use super::*;

pub(crate) fn settings_with(variables: &[(&str, &str)]) -> SdkConfig {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    settings_of(&Environment(&|name| {
        variables.get(name).map(|value| (*value).to_owned())
    }))
}

#[tokio::test]
async fn settings_are_those_of_the_environment() {
    let settings = settings_with(&[
        ("AWS_REGION", "eu-central-1"),
        ("AWS_DEFAULT_REGION", "us-west-2"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
    ]);
    assert_eq!(settings.region().map(Region::as_ref), Some("eu-central-1"));
    let provider = settings.credentials_provider().unwrap();
    let credentials = provider.provide_credentials().await.unwrap();
    assert_eq!(
        (
            credentials.access_key_id(),
            credentials.secret_access_key(),
            credentials.session_token()
        ),
        ("id", "secret", Some("token"))
    );
}

#[tokio::test]
async fn without_credentials_the_error_says_how_to_get_some() {
    let provider = settings_with(&[("AWS_ACCESS_KEY_ID", "id")]).credentials_provider();
    let error = provider.unwrap().provide_credentials().await.unwrap_err();
    let said = foundation::causes(&error);
    assert!(said.contains("aws configure export-credentials"), "{said}");
}

#[test]
fn a_service_is_at_its_own_endpoint_or_the_common_one_or_amazons() {
    for (variables, ssm, s3) in [
        (
            &[("AWS_DEFAULT_REGION", "us-east-1")][..],
            "https://ssm.us-east-1.amazonaws.com",
            "https://s3.us-east-1.amazonaws.com",
        ),
        (
            &[
                ("AWS_REGION", "cn-north-1"),
                ("AWS_ENDPOINT_URL_S3", "http://store:9000/"),
            ],
            "https://ssm.cn-north-1.amazonaws.com.cn",
            "http://store:9000",
        ),
        (
            &[
                ("AWS_REGION", "eu-west-1"),
                ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
            ],
            "http://127.0.0.1:4566",
            "http://127.0.0.1:4566",
        ),
        (
            &[("AWS_REGION", "us-gov-west-1"), ("AWS_USE_FIPS_ENDPOINT", "true")],
            "https://ssm-fips.us-gov-west-1.amazonaws.com",
            "https://s3-fips.us-gov-west-1.amazonaws.com",
        ),
        (
            &[("AWS_REGION", "eusc-de-east-1"), ("AWS_USE_DUALSTACK_ENDPOINT", "true")],
            "https://ssm.eusc-de-east-1.api.amazonwebservices.eu",
            "https://s3.dualstack.eusc-de-east-1.amazonaws.eu",
        ),
    ] {
        let settings = settings_with(variables);
        for (name, at) in [("ssm", ssm), ("s3", s3)] {
            assert_eq!(Service::new(&settings, name).endpoint().unwrap(), at, "{variables:?}");
        }
    }
    assert!(matches!(
        Service::new(&settings_with(&[]), "ssm").endpoint(),
        Err(Error::NoRegion)
    ));
}
