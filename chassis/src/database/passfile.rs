//! A file of passwords, as libpq reads it: `host:port:database:user:password`, one a line; `*` matches all, `\` escapes.

/// Who connects, and where to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// The password of the first line that matches.
pub(super) fn password(file: &str, login: &Login<'_>) -> Option<String> {
    let port = login.port.to_string();
    let wanted = [login.host, &port, login.database, login.user];
    file.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let mut fields = fields(line).into_iter();
            let matches = wanted.iter().all(|wanted| {
                let field = fields.next();
                field.is_some_and(|field| field == "*" || field == *wanted)
            });
            fields.next().filter(|_| matches)
        })
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            ':' => {
                fields.push(String::new());
                continue;
            }
            '\\' => letters.next(),
            letter => Some(letter),
        };
        if let Some(field) = fields.last_mut() {
            field.extend(letter);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_matches_has_the_password() {
        let file = "# host:port:database:user:password\n\
            other:5432:wallet:relay:no\n\
            \\:\\:1:5432:wallet:relay:six\n\
            db:5432:*:relay:a\\:b\\\\c\n\
            *:*:*:*:any\n";
        let password = |host, user| {
            let login = Login {
                host,
                port: 5432,
                database: "wallet",
                user,
            };
            password(file, &login)
        };
        assert_eq!(password("db", "relay").as_deref(), Some("a:b\\c"));
        assert_eq!(password("db", "wallet").as_deref(), Some("any"));
        assert_eq!(password("::1", "relay").as_deref(), Some("six"));
        let short = Login {
            host: "h",
            port: 1,
            database: "d",
            user: "u",
        };
        assert_eq!(super::password("h:1:d", &short), None);
    }
}
