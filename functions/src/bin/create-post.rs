fn main() -> Result<(), lambda_http::Error> {
    functions::mains::create_post()
}
