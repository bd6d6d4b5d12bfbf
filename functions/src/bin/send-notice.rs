fn main() -> Result<(), lambda_http::Error> {
    functions::mains::send_notice()
}
