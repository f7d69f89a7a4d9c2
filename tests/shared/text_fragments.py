"""Texts that would be markup if a page did not escape them."""

from __future__ import annotations

from hypothesis import strategies as st

HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet="<>&\"'`[]()!#*_-=|\\/\n\r\t :.ahps\u2028\x85\x0b\x00"),
    st.lists(
        st.sampled_from(
            [
                "\n\n",
                "\r\n \r\n",
                "\r\r",
                "</code></pre>",
                "</td></tr></table></details>",
                "<script>alert(1)</script>",
                "<img src=x onerror=alert(1)>",
                '"><a href="https://evil.example">',
                "[click](https://evil.example)",
                "![](https://evil.example/x.png)",
                "# Approved",
                "```term\n",
                "javascript:alert(1)",
                "{{ 7 * 7 }}",
                "\u202e",
                "\ud800",
            ]
        )
    ).map("".join),
)
