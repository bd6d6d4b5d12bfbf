fn main() -> Result<(), lambda_http::Error> {
    functions::mains::edit_message()
}
