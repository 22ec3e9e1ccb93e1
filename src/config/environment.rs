//! `${VAR}` in values.

/// Replaces every `${VAR}` by what `variable` answers; `$${` is a literal `${`, and a `$` before
/// anything else stands for itself. What a variable holds is not expanded again.
///
/// # Errors
/// What is wrong and what to write.
pub(super) fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let after = &from[2..];
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some(end) = after.find('}') else {
            return Err("'${' has no closing '}'; write $${ for a literal ${".to_owned());
        };
        let (name, tail) = (&after[..end], &after[end + 1..]);
        if !is_name(name) {
            return Err(format!(
                "'${{{name}}}' is not the name of an environment variable (letters, digits and '_'); write \
                 $${{ for a literal ${{"
            ));
        }
        let value = variable(name).ok_or_else(|| {
            format!(
                "the environment variable {name} is not set; set it, or write $${{ for a literal ${{"
            )
        })?;
        out.push_str(&value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// POSIX.1-2017 section 8.1, the names of environment variables.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|each| each.is_ascii_alphanumeric() || each == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "A" => Some("x".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("${A}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_expanded_once() {
        for (text, expanded) in [
            ("plain", "plain"),
            ("${A}", "x"),
            ("a${A}b${A}", "axbx"),
            ("${EMPTY}", ""),
            ("${DOLLAR}", "${A}"),
            ("$${A}", "${A}"),
            ("$A $ $$ {A}", "$A $ $$ {A}"),
        ] {
            assert_eq!(expand(text, &variable).as_deref(), Ok(expanded), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_expanded_is_an_error() {
        assert!(expand("${B}", &variable).unwrap_err().contains("variable B is not set"));
        assert!(expand("${A", &variable).unwrap_err().contains("closing"));
        assert!(expand("${}", &variable).unwrap_err().contains("not the name of"));
        assert!(expand("${A:-b}", &variable).unwrap_err().contains("not the name of"));
    }
}
