fn main() -> Result<(), lambda_http::Error> {
    functions::migrate::serve()
}
