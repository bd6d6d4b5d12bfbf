//! Where a service is, by its region.

/// The host of a service, such as `ssm.eu-central-1.amazonaws.com`.
pub(crate) fn host(service: &str, region: &str, is_fips: bool, is_dual_stack: bool) -> String {
    let (domain, dual_stack_domain) = domains(region);
    let fips = if is_fips { "-fips" } else { "" };
    match (service, is_dual_stack) {
        (_, false) => format!("{service}{fips}.{region}.{domain}"),
        // Its names are older than the domain of the others.
        ("s3", true) => format!("{service}{fips}.dualstack.{region}.{domain}"),
        (_, true) => format!("{service}{fips}.{region}.{dual_stack_domain}"),
    }
}

/// Of the partition that a region is in, and of those of its hosts that have IPv6, as in the SDKs' `partitions.json`.
fn domains(region: &str) -> (&'static str, &'static str) {
    let partitions = [
        ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
        ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
        ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
        ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
        ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ];
    let found = partitions.iter().find(|(prefix, ..)| region.starts_with(prefix));
    found.map_or(("amazonaws.com", "api.aws"), |(_, domain, dual_stack)| {
        (domain, dual_stack)
    })
}
