fn main() -> Result<(), lambda_http::Error> {
    functions::mains::mark_messages_read()
}
