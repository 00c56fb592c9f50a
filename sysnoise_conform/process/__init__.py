"""The child processes that sessions live in: started apart, limited, asked, and named when they die."""
