package com.github.flinktail.listener.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Random;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.Test;

class JsonTest {

    @Test
    void everyCharacterComesBack() {
        StringBuilder text = new StringBuilder();
        for (int c = 0; c < 0x3000; c++) {
            text.append((char) c);
        }
        text.appendCodePoint(0x1F600).append("\"\\/");
        assertEquals(text.toString(), roundTrip(text.toString()));
    }

    @Test
    void randomTextComesBackButForLoneSurrogates() {
        Random random = new Random(7);
        for (int i = 0; i < 2000; i++) {
            StringBuilder text = new StringBuilder();
            for (int n = random.nextInt(40); n > 0; n--) {
                text.append((char) (random.nextBoolean() ? 0xD700 + random.nextInt(0x1000) : random.nextInt(0x10000)));
            }
            String utf8 = new String(text.toString().getBytes(StandardCharsets.UTF_8), StandardCharsets.UTF_8);
            assertEquals(utf8.replace('?', '\uFFFD'), roundTrip(text.toString()).replace('?', '\uFFFD'));
        }
    }

    @Test
    void cutsBetweenCharactersWithAnEllipsis() {
        for (int max = 3; max < 30; max++) {
            String cut = roundTrip("a\u00e9\u20ac\n" + "\uD83D\uDE00".repeat(20), max);
            assertTrue(cut.endsWith("\u2026"), cut);
            assertFalse(cut.contains("\uFFFD"), cut);
            assertTrue(cut.replace("\n", "\\n").getBytes(StandardCharsets.UTF_8).length <= max, cut);
        }
        assertEquals("abcd", roundTrip("abcd", 4));
    }

    @Test
    void aPartIsTakenBackWhole() {
        Json json = new Json(1000);
        json.beginObject().field("before", "1");
        assertFalse(json.attempt(40, j -> j.key("part").beginArray().string("x".repeat(30), 100).string("y".repeat(30), 100)));
        assertFalse(json.attempt(40, j -> {
            j.key("user").beginObject();
            throw new StackOverflowError();
        }));
        assertTrue(json.attempt(40, j -> j.key("kept").number(2)));
        json.key("double").number(Double.NaN).endObject();
        assertEquals("{\"before\":\"1\",\"kept\":2,\"double\":\"NaN\"}", text(json));
    }

    @Test
    void neverGrowsPastItsLimit() {
        Json json = new Json(10);
        json.beginArray();
        assertThrows(Json.Full.class, () -> json.string("12345678901", 100));
        assertTrue(json.toBytes().length <= 10);
    }

    private static String roundTrip(String text) {
        return roundTrip(text, 1 << 20);
    }

    private static String roundTrip(String text, int max) {
        Json json = new Json(1 << 20);
        json.beginArray().string(text, max).endArray();
        JsonNode array = Receiver.parse(text(json));
        return array.get(0).textValue();
    }

    /** Unlike new String, refuses what is not UTF-8. */
    private static String text(Json json) {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(json.toBytes())).toString();
        } catch (CharacterCodingException e) {
            throw new AssertionError(e);
        }
    }
}
