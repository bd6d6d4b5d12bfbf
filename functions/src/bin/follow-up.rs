fn main() -> Result<(), lambda_http::Error> {
    functions::mains::follow_up()
}
