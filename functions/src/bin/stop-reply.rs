fn main() -> Result<(), lambda_http::Error> {
    functions::mains::stop_reply()
}
