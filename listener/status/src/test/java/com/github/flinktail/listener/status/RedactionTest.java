package com.github.flinktail.listener.status;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class RedactionTest {

    @ParameterizedTest
    @ValueSource(strings = {
        "password", "connection.Password", "ssl.keystore.password", "ssl.key.password", "passwd", "pwd", "client-secret", "auth.token",
        "aws.credentials.provider", "s3.access-key", "fs.s3a.access.key", "accessKeyId", "fs.s3a.secret.key", "private_key", "api-key", "apiKey",
        "properties.sasl.jaas.config", "ssl.keystore.key", "basic-auth.user-info", "fs.azure.account.key.x", "Authorization", "sig"
    })
    void theseKeysAreSecret(String key) {
        assertTrue(Redaction.secret(key), key);
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "connector", "topic", "path", "properties.bootstrap.servers", "properties.group.id", "scan.startup.mode", "key.fields", "format",
        "username", "fields.id.kind", "primary-key", "sasl.mechanism", "ssl.truststore.location", "design"
    })
    void theseAreNot(String key) {
        assertFalse(Redaction.secret(key), key);
    }

    @ParameterizedTest
    @CsvSource(quoteCharacter = '~', delimiter = '|', textBlock = """
            jdbc:mysql://root:hunter2@db:3306/shop                                   | jdbc:mysql://root:***@db:3306/shop
            mongodb://u:hunter/2@h@db1:27017,db2:27017/x                             | mongodb://u:***@db1:27017,db2:27017/x
            jdbc:postgresql://db/shop?user=me&password=hunter2&ssl=true              | jdbc:postgresql://db/shop?user=me&password=***&ssl=true
            org.apache.Login required username="me" password="hunter2 x";            | org.apache.Login required username="me" password=***;
            {"apiKey": "hunter2", "topic": "a"}                                      | {"apiKey": ***, "topic": "a"}
            Authorization: Bearer hunter2                                            | Authorization: ***
            https://acc.blob.core.windows.net/c?sv=1&sig=hunter2%3D&se=2             | https://acc.blob.core.windows.net/c?sv=1&sig=***&se=2
            AccountName=me;AccountKey=hunter2==;EndpointSuffix=x                     | AccountName=me;AccountKey=***;EndpointSuffix=x
            """)
    void credentialsInsideAValueAreMasked(String value, String redacted) {
        assertEquals(redacted, Redaction.text(value));
    }

    @ParameterizedTest
    @ValueSource(strings = {"kafka://h1:9092,h2:9092", "file:///data/a=b/part@1", "catalog.db.token", "BIGINT NOT NULL", "https://host:8443/a?b=c"})
    void anythingElseIsLeftAlone(String value) {
        assertEquals(value, Redaction.text(value));
    }

    @Test
    void longHostileTextTakesNoTime() {
        assertTimeoutPreemptively(Duration.ofSeconds(5), () -> {
            Redaction.text("://a:".repeat(800) + "@");
            Redaction.text("password".repeat(500));
            Redaction.text("password=\"".repeat(400));
            Redaction.text("password" + " ".repeat(4000) + "@:");
        });
    }
}
