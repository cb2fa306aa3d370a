package com.github.flinktail.listener.status;

import java.util.regex.Pattern;

/** Takes credentials out of what connectors tell about themselves. When in doubt it takes too much. */
final class Redaction {
    static final String MASK = "***";

    private static final String SECRET_WORD =
            "pass(?:word|wd|phrase)|pwd|secret|token|credential|jaas|private[._-]?key|api[._-]?key|access[._-]?key|auth[._-]?key"
                    + "|account[._-]?key|keystore[._-]?key|authorization|user[._-]?info|cookie|\\bsig(?:nature)?\\b";
    private static final Pattern SECRET_KEY = Pattern.compile(SECRET_WORD, Pattern.CASE_INSENSITIVE);
    /** name=value and name: value, as in the parameters of a JDBC URL or in JAAS text. */
    private static final Pattern ASSIGNMENT = Pattern.compile(
            "((?:" + SECRET_WORD + ")[\\w.-]*+[\"']?\\s*+[=:]\\s*+)(?:(?:Bearer|Basic)\\s++\\S++|\"[^\"]*+\"?|'[^']*+'?|[^\\s&;,\"'}]++)", Pattern.CASE_INSENSITIVE);
    /** The password in scheme://user:password@host; one with slashes or @ signs in it too. */
    private static final Pattern USER_INFO = Pattern.compile("(://[^\\s/?#:@]*+):\\S*@");

    private Redaction() {}

    /** Whether the values under this key are not to be shown. */
    static boolean secret(String key) {
        return SECRET_KEY.matcher(key).find();
    }

    /** The text without the credentials inside it. */
    static String text(String text) {
        String redacted = text;
        if (redacted.indexOf('@') >= 0) {
            redacted = USER_INFO.matcher(redacted).replaceAll("$1:" + MASK + "@");
        }
        if (redacted.indexOf('=') >= 0 || redacted.indexOf(':') >= 0) {
            redacted = ASSIGNMENT.matcher(redacted).replaceAll("$1" + MASK);
        }
        return redacted;
    }
}
