fn main() -> Result<(), lambda_http::Error> {
    functions::routes::follow_up()
}
