fn main() -> Result<(), lambda_http::Error> {
    functions::mains::delete_chat()
}
