fn main() -> Result<(), lambda_http::Error> {
    functions::mains::mark_chat_read()
}
