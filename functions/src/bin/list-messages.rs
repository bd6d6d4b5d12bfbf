fn main() -> Result<(), lambda_http::Error> {
    functions::routes::list_messages()
}
