fn main() -> Result<(), lambda_http::Error> {
    functions::routes::mark_messages_read()
}
