fn main() -> Result<(), lambda_http::Error> {
    functions::routes::search_messages()
}
