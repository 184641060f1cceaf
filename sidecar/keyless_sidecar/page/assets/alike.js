// Characters that look like ones of ASCII, of those that commands and addresses are made of.

export const ALIKE = new Set([
  // Cyrillic
  ..."асԁеһіјӏорԛѕԝхуѵԍпгАВСЕНІЈКМОРЅТХУԜЅѴԌԚҮһЬҁ",
  // Greek
  ..."αγικνορτυϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹω",
  // Armenian, Hebrew, Arabic, Cherokee, Lisu
  ..."օսհոցզԼՍՏՕյսוןסھہاᎪᏴᏟᎠᎬᎻᎥᎫᏞᎷᏀᏢᏒᏚᎢᏙᎳᏃꓐꓚꓓꓰꓝꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ",
  // Latin letters that are no letters of words here
  ..."ıȷɑɡɩɪʀʏʜʟɴʙᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢꜱǀǃſƖƽʋ",
  // Dashes, slashes, dots, colons, quotes, stars, brackets
  ..."‐‑‒–—―−﹘⁃➖╱⁄∕⧸⟋ノ⼃∖⧵⟍․‧·•⸱ꞏ․٠۰։׃ː˸ꓽ∶⁚،‚٬;′ʹʼʽ‘’‛“”‟″`´ˈ∗⁎٭❨❩❲❳〔〕﴾﴿‹›≺≻⟨⟩∣⏐❘˜∼⁓＿ˍ＃♯﹟÷✚➕‗꞊᐀⹀゠",
].filter((char) => char > "~"));
