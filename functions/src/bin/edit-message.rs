fn main() -> Result<(), lambda_http::Error> {
    functions::routes::edit_message()
}
