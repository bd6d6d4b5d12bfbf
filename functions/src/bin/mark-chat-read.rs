fn main() -> Result<(), lambda_http::Error> {
    functions::routes::mark_chat_read()
}
