fn main() -> Result<(), lambda_http::Error> {
    functions::routes::send_message()
}
