fn main() -> Result<(), lambda_http::Error> {
    functions::routes::regenerate_reply()
}
