fn main() -> Result<(), lambda_http::Error> {
    functions::mains::list_versions()
}
