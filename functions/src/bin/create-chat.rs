fn main() -> Result<(), lambda_http::Error> {
    functions::routes::create_chat()
}
